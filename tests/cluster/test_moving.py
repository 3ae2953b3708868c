"""An authority certifies its own brokers, moves its log to them over TLS, goes on there, and comes back: the same log all along."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public by its documentation
    AdminClient,
    NewPartitions,
)

from quicklime.adapters.kafka_log import SASL, Cluster, KafkaLog, create, topic
from quicklime.errors import BrokenState
from quicklime.log import AppendFailed, AppendUnknown, Entry, LogUnreadable
from tests.support.authority import Subscriber, base64
from tests.support.clients import Bearer, certified
from tests.support.kafka import Kafka, running
from tests.support.stack import SETTINGS, Stack
from tests.support.stack import running as running_stack
from tests.support.token_endpoint import AUDIENCE, CLIENT, ISSUER, SECRET, TokenEndpoint, serving

# as docs/guides/kafka.md has them
READ = "--operation Describe --operation DescribeConfigs --operation Read --topic *"
ACLS = (
    f"--allow-principal User:quicklime --operation Write --operation Create {READ}",
    f"--allow-principal User:auditor {READ}",
)

USER, PASSWORD = "quicklime", "a password"
VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"


@dataclass(frozen=True)
class Secured:
    """One broker that lets in who has a certificate of ``stack``'s and says who it is."""

    stack: Stack
    kafka: Kafka
    client: Bearer
    endpoint: TokenEndpoint

    def cluster(self, topic: str, **changes: Any) -> Cluster:
        settings: dict[str, Any] = {
            "url": f"kafkas://{self.kafka.bootstrap}/{topic}",
            "replicas": 1,
            "ca": self.stack.root,
            "certificate": self.client.chain,
            "key": self.client.key,
            "sasl": SASL(mechanism="SCRAM-SHA-256", username=USER, password=PASSWORD),
        }
        return Cluster(**(settings | changes))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    with running_stack(folder / "authority") as stack, serving() as endpoint:
        broker = certified(stack, folder / "broker", "IP:127.0.0.1", "DNS:kafka.lab.internal")
        client = certified(stack, folder / "client", "DNS:quicklime.lab.internal", profile="client")
        (folder / "jwks.json").write_text(endpoint.jwks)
        with running(
            folder / "kafka",
            settings=broker_settings(stack, broker, folder),
            listener="SASL_SSL",
            scram={USER: PASSWORD, "auditor": PASSWORD},
        ) as kafka:
            for arguments in ACLS:
                kafka.tool(
                    "org.apache.kafka.tools.AclCommand",
                    "--bootstrap-server",
                    kafka.inner,
                    "--add",
                    *arguments.split(),
                )
            yield Secured(stack, kafka, client, endpoint)


def broker_settings(stack: Stack, broker: Bearer, folder: Path) -> Mapping[str, str]:
    """What the broker's listener for clients is secured by: files in PEM, as they came from the authority."""
    keystore = folder / "broker.pem"
    keystore.write_bytes(broker.key.read_bytes() + broker.chain.read_bytes())
    client = "listener.name.client."
    # nobody may do anything but whom an ACL lets; the nodes among themselves may
    authorizer = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    jaas = "org.apache.kafka.common.security"
    return authorizer | {
        f"{client}ssl.keystore.type": "PEM",
        f"{client}ssl.keystore.location": str(keystore),
        f"{client}ssl.truststore.type": "PEM",
        f"{client}ssl.truststore.location": str(stack.root),
        f"{client}ssl.client.auth": "required",
        f"{client}sasl.enabled.mechanisms": "SCRAM-SHA-256,OAUTHBEARER",
        f"{client}scram-sha-256.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
        f"{client}oauthbearer.sasl.jaas.config": f"{jaas}.oauthbearer.OAuthBearerLoginModule required;",
        f"{client}oauthbearer.sasl.server.callback.handler.class": VALIDATOR,
        f"{client}oauthbearer.sasl.oauthbearer.jwks.endpoint.url": f"file://{folder / 'jwks.json'}",
        f"{client}oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
        f"{client}oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
    }


async def test_over_tls_with_certificates_of_ours_and_a_password(secured: Secured) -> None:
    cluster = secured.cluster("scram")
    create(cluster)
    with contextlib.closing(KafkaLog(cluster)) as log:
        assert await log.append([Entry("t.v1", b"a"), Entry("t.v1", b"b")]) == 0
        assert await log.append([Entry("t.v1", b"c")]) == 2
        assert [record.value for record in log.read(0)] == [b"a", b"b", b"c"]


async def test_over_tls_with_a_token_of_oauth(secured: Secured) -> None:
    sasl = SASL(mechanism="OAUTHBEARER", username=CLIENT, password=SECRET, token_url=secured.endpoint.url)
    cluster = secured.cluster("oauth", sasl=sasl)
    create(cluster)
    with contextlib.closing(KafkaLog(cluster)) as log:
        assert await log.append([Entry("t.v1", b"a"), Entry("t.v1", b"b")]) == 0
        assert await log.append([Entry("t.v1", b"c")]) == 2
    assert secured.endpoint.given > 0


async def test_who_may_only_read_appends_nothing(secured: Secured) -> None:
    cluster = secured.cluster("acl")
    create(cluster)
    auditor = SASL(mechanism="SCRAM-SHA-256", username="auditor", password=PASSWORD)
    with (
        contextlib.closing(KafkaLog(cluster)) as log,
        contextlib.closing(KafkaLog(secured.cluster("acl", sasl=auditor))) as reader,
    ):
        assert await log.append([Entry("t.v1", b"a")]) == 0
        assert reader.wait(0, 10)
        assert [record.value for record in reader.read(0)] == [b"a"]
        for entries in ([Entry("t.v1", b"b")], [Entry("t.v1", b"b"), Entry("t.v1", b"c")]):
            with pytest.raises(
                (AppendFailed, AppendUnknown), match=r"(?i)authorization|not handed over|no records"
            ):
                await reader.append(entries)
        assert await log.append([Entry("t.v1", b"d")]) == 1
        assert reader.wait(1, 10)
    with pytest.raises(LogUnreadable, match=r"(?i)authorization"):
        create(secured.cluster("acl2", sasl=auditor))


def test_who_can_not_show_who_he_is_is_told(
    secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic, "ADMIN_SECONDS", 2.0)  # each is tried again until then
    other = tmp_path / "other.pem"
    with running_stack(tmp_path / "other") as stack:
        other.write_bytes(stack.root.read_bytes())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"sasl": SASL(mechanism="SCRAM-SHA-256", username=USER, password="another")}, "(?i)authentication"),
        ({"certificate": None, "key": None}, "(?i)certificate"),
        ({"ca": other}, "(?i)certificate verify failed"),
        (
            {
                "sasl": SASL(
                    mechanism="OAUTHBEARER", username=CLIENT, password="wrong", token_url=secured.endpoint.url
                )
            },
            "(?i)token",
        ),
    ]
    for changes, said in wrong:
        with pytest.raises(LogUnreadable, match=said):
            create(secured.cluster("never", **changes))
    with pytest.raises(BrokenState, match="no file"):
        create(secured.cluster("never", ca=tmp_path / "none.pem"))


# --- moving ---------------------------------------------------------------------------------------------------------


def issue(stack: Stack) -> str:
    with stack.client() as client:
        answer = client.post(
            "/v1/certificates", json={"csr": base64(Subscriber.new().csr("dns:web.lab.internal"))}
        )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["serial"])


def is_known(stack: Stack, serial: str) -> bool:
    with stack.client() as client:
        return bool(client.get(f"/v1/certificates/{serial}/status").json()["status"] == "good")


def digests(stack: Stack) -> dict[str, tuple[int, str]]:
    return {row["view"]: (row["checkpoint"], row["digest"]) for row in stack.told("view", "digest")}


def settings_on(secured: Secured, url: str) -> str:
    return SETTINGS + (
        f'\n[log]\nurl = "{url}"\nreplicas = 1\n'
        f'[log.tls]\nca = "{secured.stack.root}"\ncertificate = "{secured.client.chain}"\nkey = "{secured.client.key}"\n'
        f'[log.sasl]\nmechanism = "SCRAM-SHA-256"\nusername = "{USER}"\npassword = "{PASSWORD}"\n'
    )


def test_an_authority_moves_to_brokers_that_it_certified_and_back(secured: Secured) -> None:
    stack, plain = secured.stack, secured.stack.settings
    url = f"kafkas://{secured.kafka.bootstrap}/moved-{uuid.uuid4()}"
    serials = [issue(stack)]
    stack.stop()
    before = digests(stack)
    in_file = f"sqlite:{stack.data / 'log.sqlite'}"
    # --- there
    stack.settings = settings_on(secured, url)
    stack.configure()
    assert b"made kafkas://" in stack.quicklime("log", "create")
    moved = stack.told("log", "copy", "--from", in_file, "--to", url)
    assert moved["records"] == moved["copied"] == before["lifecycle"][0]
    # again: nothing to do, and the same digest; the file and the topic are not taken for each other by accident
    assert stack.told("log", "copy", "--from", in_file, "--to", url) == moved | {"copied": 0}
    assert b"which of them" in stack.quicklime_said("log", "tail")
    (stack.data / "log-url").write_text(url)
    kept = stack.folder / "log.sqlite.kept"
    for file in stack.data.glob("log.sqlite*"):
        file.rename(kept.with_name(file.name + ".kept"))
    assert digests(stack) == before
    stack.start()
    assert is_known(stack, serials[0])
    serials.append(issue(stack))
    stack.stop()
    after = digests(stack)
    # whoever forgets the setting does not go on with something else
    stack.settings = plain
    stack.configure()
    assert b"and log.url is not set" in stack.quicklime_said("serve")
    # --- and back
    stack.settings = settings_on(secured, url)
    stack.configure()
    back = stack.told("log", "copy", "--to", in_file)
    assert back["records"] == back["copied"] == after["lifecycle"][0]
    (stack.data / "log-url").unlink()
    stack.settings = plain
    stack.configure()
    assert digests(stack) == after
    stack.start()
    assert all(is_known(stack, serial) for serial in serials)
    assert stack.told("log", "verify")["faults"] == []


def test_a_copy_that_was_cut_off_goes_on_and_another_log_is_left_alone(
    topic1: Cluster, tmp_path: Path
) -> None:
    source = Stack(folder=tmp_path / "one", settings=SETTINGS + "\n[log]\nreplicas = 1\n")
    source.found()
    told = source.told("log", "copy", "--to", topic1.url)
    half = tmp_path / "half.sqlite"
    shutil.copy(source.data / "log.sqlite", half)
    for suffix in ("-wal", "-shm"):
        if (file := source.data / f"log.sqlite{suffix}").exists():
            shutil.copy(file, f"{half}{suffix}")
    # the source goes on, the copy follows
    source.quicklime("token", "create", "--role", "auditor")
    again = source.told("log", "copy", "--to", topic1.url)
    assert (again["copied"], again["records"]) == (1, told["records"] + 1)
    # from Kafka into the older copy in a file: it goes on too
    back = source.told("log", "copy", "--from", topic1.url, "--to", f"sqlite:{half}")
    assert back | {"from": "", "to": ""} == again | {"from": "", "to": ""}
    # a topic that can't be trusted any more is copied all the same
    admin = AdminClient({"bootstrap.servers": topic1.brokers})
    admin.create_partitions([NewPartitions(topic1.topic, 2)])[topic1.topic].result(10)
    with pytest.raises(BrokenState, match="2 partitions, expected 1"):
        KafkaLog(topic1)
    saved = source.told("log", "copy", "--from", topic1.url, "--to", f"sqlite:{tmp_path / 'saved.sqlite'}")
    assert saved["digest"] == again["digest"]
    # a shorter log is no source for a longer one, and another authority's log is no target
    other = Stack(folder=tmp_path / "two")
    other.found()
    others = f"sqlite:{other.data / 'log.sqlite'}"
    assert b"records, " in source.quicklime_said("log", "copy", "--from", others, "--to", f"sqlite:{half}")
    assert b"another than the source's" in source.quicklime_said(
        "log", "copy", "--from", topic1.url, "--to", others
    )
    assert source.told("log", "copy", "--from", topic1.url, "--to", f"sqlite:{half}")["copied"] == 0


def test_settings_that_can_not_be_are_named(tmp_path: Path) -> None:
    stack = Stack(
        folder=tmp_path,
        settings=SETTINGS
        + '\n[log]\nurl = "kafka://host/"\n[log.sasl]\nmechanism = "OAUTHBEARER"\n[log.tls]\nkey = "/k"\n[views]\nurl = "http://x"\n',
    )
    stack.configure()
    said = stack.quicklime_said("config", "check").decode()
    for fault in (
        "log.url: log URL 'kafka://host/', expected",
        "log.url: OAUTHBEARER over kafka://",
        "log.sasl.username: OAUTHBEARER needs it",
        "log.sasl.token_url: OAUTHBEARER needs it",
        "log.tls: a certificate needs its key",
        "views.url: 'http://x', expected",
    ):
        assert fault in said
