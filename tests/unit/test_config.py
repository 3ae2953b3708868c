"""Settings: who wins, where each came from, and what is said of those that can't be."""

from __future__ import annotations

from pathlib import Path

import pytest

from quicklime.config import APISettings, Config, ConfigurationFault, described, load, schema, settings
from quicklime.wiring.settings import api_url


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("QUICKLIME_CONFIG", "QUICKLIME_SECRETS_DIR", "QUICKLIME_TOKEN", "QUICKLIME_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "quicklime.toml"
    path.write_text(text)
    return path


def faults(**more: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationFault) as found:
        load(**more)  # type: ignore[arg-type]
    return found.value.faults


def test_the_defaults_are_loopback_and_the_usual_ports() -> None:
    loaded = load()
    assert (loaded.config.api.host, loaded.config.api.port) == ("127.0.0.1", 8443)
    assert loaded.config.status.url == "http://localhost:8080"
    assert loaded.origins == {}


def test_file_environment_secrets_and_flags_each_win_over_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml(
        tmp_path,
        'data_dir = "from-file"\n[api]\nport = 1\nhost = "::1"\n[status]\nport = 1\n[crl]\ndelay_seconds = 2\n',
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "pkcs11__pin").write_text("1234\n")
    (secrets / "status__port").write_text("3")
    monkeypatch.setenv("QUICKLIME_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("QUICKLIME_API__PORT", "2")
    monkeypatch.setenv("QUICKLIME_STATUS__PORT", "2")
    loaded = load(flags={"data_dir": "from-flag", "api.host": None})
    config = loaded.config
    assert (config.api.port, config.api.host, config.status.port) == (2, "::1", 3)
    assert (str(config.data_dir), config.crl.delay_seconds) == ("from-flag", 2)
    assert config.pkcs11.pin is not None
    assert config.pkcs11.pin.get_secret_value() == "1234"
    assert loaded.origins == {
        "data_dir": "flag",
        "api.port": "environment",
        "api.host": "quicklime.toml",
        "status.port": str(secrets),
        "crl.delay_seconds": "quicklime.toml",
        "pkcs11.pin": str(secrets),
    }


def test_a_list_from_the_environment_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKLIME_API__NAMES", '["ca.internal"]')
    assert load().config.api.names == ("ca.internal",)


def test_profiles_and_rules_are_read(tmp_path: Path) -> None:
    toml(
        tmp_path,
        '[profiles.short]\nvalidity_seconds = 3600\n[[client_certificates]]\nbearer = "*.internal"\nnames = ["**.internal"]\n',
    )
    config = load().config
    assert config.profiles["short"].validity_seconds == 3600
    assert config.client_certificates[0].role == "requester"


def test_every_fault_is_named_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml(tmp_path, "prot = 1\n[api]\nport = 99999\n[limits]\nconnections = 0\n")
    monkeypatch.setenv("QUICKLIME_LOGGING__LEVEL", "loud")
    found = faults()
    assert len(found) == 4
    assert any(one.startswith("prot: no such setting (quicklime.toml") for one in found)
    assert any(one.startswith("api.port:") and "65535" in one for one in found)
    assert any(one.startswith("logging.level:") and "(environment)" in one for one in found)


def test_a_misspelt_variable_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKLIME_APII__PORT", "1")
    assert faults() == ("QUICKLIME_APII__PORT: no such setting (environment)",)


@pytest.mark.parametrize("text", ["[api", "api = 3", b"\xff"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "broken.toml" in faults(file=path)[0]


def test_a_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    assert "no configuration file" in faults(file=tmp_path / "nowhere.toml")[0]


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    path = toml(tmp_path, '[pkcs11]\npin = "1234"\n[cfssl.auth_keys.one]\nkey = "00ff00ff"\n')
    loaded = load(path)
    shown = repr(loaded) + str(dict(settings(loaded.config)))
    assert "1234" not in shown
    assert "00ff00ff" not in shown


def test_every_setting_has_its_sentence() -> None:
    missing = [key for key, _, _, sentence in described() if not sentence.endswith(".")]
    assert not missing
    assert schema()["additionalProperties"] is False


@pytest.mark.parametrize(
    ("host", "names", "url"),
    [
        ("127.0.0.1", ("localhost", "127.0.0.1", "::1"), "https://localhost:8443"),
        ("127.0.0.1", ("ca.corp.example", "127.0.0.1"), "https://127.0.0.1:8443"),
        ("0.0.0.0", ("ca.corp.example", "::1"), "https://[::1]:8443"),
        ("::", ("ca.corp.example",), "https://ca.corp.example:8443"),
        ("10.0.0.5", ("localhost", "10.0.0.5"), "https://10.0.0.5:8443"),
        ("10.0.0.5", ("ca.corp.example", "localhost"), "https://ca.corp.example:8443"),
    ],
)
def test_the_api_is_called_by_a_name_that_its_certificate_has(
    host: str, names: tuple[str, ...], url: str
) -> None:
    assert api_url(Config(api=APISettings(host=host, names=names)), 8443) == url


def test_a_token_is_never_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKLIME_SERVER__URL", "http://localhost:8080")
    (fault,) = faults()
    assert fault.startswith("server.url: ")
    assert "https://" in fault
