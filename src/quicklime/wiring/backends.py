"""The log and the store by their URLs: which adapter, with what. One function each.

A data directory whose log is elsewhere says where, in ``log-url``. That, and not a setting that somebody forgot, is what keeps
an authority that has moved to Kafka from going on with the file that it left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.config import ConfigurationFault
from quicklime.errors import BrokenState
from quicklime.log import Log
from quicklime.wiring.directory import DataDirectory, write_file

if TYPE_CHECKING:
    from pydantic import SecretStr

    from quicklime.adapters.kafka_log import Cluster
    from quicklime.config import Config
    from quicklime.projection import Store

KAFKA = ("kafka://", "kafkas://")
VALKEY = ("valkey://", "valkeys://", "redis://", "rediss://")
SQLITE = "sqlite:"


class CheckedLog(Log, Protocol):
    """A log that can look at itself."""

    def check(self) -> None:
        """Whether what holds it is sound. Takes time in proportion for a file. Raises BrokenState, LogUnreadable."""
        ...


def check_urls(config: Config) -> None:
    """Raises ConfigurationFault naming every fault of ``log`` and ``views``."""
    faults = []
    log, views = config.log, config.views
    if log.url is not None and not log.url.startswith((*KAFKA, SQLITE)):
        faults.append(f"log.url: {log.url[:80]!r}, expected kafka://..., kafkas://... or sqlite:...")
    if log.url is not None and log.url.startswith(KAFKA):
        try:
            cluster_of(config, log.url)
        except BrokenState as broken:
            faults.append(f"log.url: {broken}")
    if views.url is not None and not views.url.startswith(VALKEY):
        faults.append(
            f"views.url: {views.url[:80]!r}, expected valkey://..., valkeys://..., redis://... or rediss://..."
        )
    sasl = log.sasl
    needed = {"username": sasl.username, "password": sasl.password}
    if sasl.mechanism == "OAUTHBEARER":
        needed["token_url"] = sasl.token_url
        if log.url is not None and log.url.startswith("kafka://"):
            faults.append(
                "log.url: OAUTHBEARER over kafka:// would send the token in clear, expected kafkas://"
            )
    if sasl.mechanism is not None:
        faults += [
            f"log.sasl.{name}: {sasl.mechanism} needs it" for name, value in needed.items() if value is None
        ]
    for place, tls in (("log.tls", log.tls), ("views.tls", views.tls)):
        if (tls.certificate is None) != (tls.key is None):
            faults.append(f"{place}: a certificate needs its key, and a key its certificate")
    if faults:
        raise ConfigurationFault(tuple(faults))


def open_log(config: Config, directory: DataDirectory, *, create: bool = False) -> CheckedLog:
    """The authority's log. ``create`` is for the founding: a new file, or a topic that is there and empty.

    Raises BrokenState, LogUnreadable.
    """
    url = config.log.url
    here = directory.log_elsewhere
    if create:
        log = open_url(config, _url(config, directory), create=url is None or url.startswith(SQLITE))
        _check_empty(log, url)
        if url is not None:
            write_file(here, url.encode() + b"\n")
        return log
    if here.exists():
        known = here.read_text(encoding="utf-8").strip()
        if _place(url) != _place(known):
            raise BrokenState(
                f"the log of {directory.path} is {known}, and log.url is {url or 'not set'}",
                hint=f"set log.url = {known!r}; if the log was copied to another place, write that into {here}",
            )
    elif url is not None and directory.log.exists() and url.startswith(KAFKA):
        raise BrokenState(
            f"log.url is {url}, and {directory.log} is there too: which of them is the authority's?",
            hint=f"quicklime log copy moves it; then write the URL into {here}, and move {directory.log.name} away",
        )
    return open_url(config, _url(config, directory))


def check_new_log(config: Config) -> None:
    """Before anything is made for a founding: whether its log can be used. Raises BrokenState, LogUnreadable."""
    if config.log.url is not None and config.log.url.startswith(KAFKA):
        log = open_url(config, config.log.url)
        try:
            _check_empty(log, config.log.url)
        finally:
            log.close()


def open_url(config: Config, url: str, *, create: bool = False, as_it_is: bool = False) -> CheckedLog:
    """The log at ``url``; ``create`` makes a new file. Raises BrokenState, LogUnreadable.

    ``as_it_is`` takes a topic whose settings would lose records, to be copied before they do.
    """
    if url.startswith(KAFKA):
        from quicklime.adapters.kafka_log import KafkaLog

        return KafkaLog(cluster_of(config, url), as_it_is=as_it_is)
    if url.startswith(SQLITE):
        return SQLiteLog(url.removeprefix(SQLITE), create=create)
    raise BrokenState(
        f"no log can be at {url[:80]!r}", hint="expected kafka://..., kafkas://... or sqlite:PATH"
    )


def create_topic(config: Config, url: str | None) -> str:
    """Make the topic that ``url``, or else ``log.url``, names; what was made. Raises BrokenState, LogUnreadable."""
    from quicklime.adapters.kafka_log import create

    url = url or config.log.url or ""
    if not url.startswith(KAFKA):
        raise BrokenState(
            "only a log on Kafka is made beforehand",
            hint="set log.url to kafka://host:port/topic; a log in a file is made by quicklime init",
        )
    create(cluster_of(config, url))
    return url


def cluster_of(config: Config, url: str) -> Cluster:
    """What the Kafka adapter needs to know. Raises BrokenState for a URL that is none."""
    from quicklime.adapters.kafka_log import SASL, Cluster

    tls, sasl = config.log.tls, config.log.sasl
    return Cluster(
        url=url,
        replicas=config.log.replicas,
        ca=tls.ca,
        certificate=tls.certificate,
        key=tls.key,
        sasl=None
        if sasl.mechanism is None
        else SASL(
            mechanism=sasl.mechanism,
            username=sasl.username,
            password=_shown(sasl.password),
            token_url=sasl.token_url,
            scope=sasl.scope,
        ),
    )


def open_store(config: Config, directory: DataDirectory) -> Store:
    """Where the views are. Raises BrokenState."""
    views = config.views
    if views.url is None:
        return LMDBStore(directory.views)
    from quicklime.adapters.valkey_store import ValkeyStore

    scheme, _, rest = views.url.partition("://")
    options: dict[str, Any] = {}
    if views.username is not None:
        options["username"] = views.username
    if views.password is not None:
        options["password"] = _shown(views.password)
    if over_tls := scheme in {"valkeys", "rediss"}:
        tls = views.tls
        files = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
        options |= {name: str(path) for name, path in files.items() if path is not None}
    return ValkeyStore(f"{'valkeys' if over_tls else 'valkey'}://{rest}", prefix=views.prefix, **options)


def _check_empty(log: CheckedLog, url: str | None) -> None:
    if head := log.head():
        raise BrokenState(
            f"the log {url} holds {head} records already: an authority lives in it",
            hint="name another topic in log.url, and make it with quicklime log create",
        )


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def log_url(config: Config) -> str:
    """Where the authority's log is."""
    return _url(config, DataDirectory(config.data_dir))


def _url(config: Config, directory: DataDirectory) -> str:
    return config.log.url or f"{SQLITE}{directory.log}"


def _place(url: str | None) -> str:
    """What stays when brokers come and go: the topic, or the file."""
    scheme, _, rest = (url or "").partition("://")
    return f"kafka {rest.rpartition('/')[2]}" if scheme.startswith("kafka") else url or ""
