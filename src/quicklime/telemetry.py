"""Every metric and every line that is logged, by name, in one place.

Lines are events with fields, on standard error, as text for people or JSON for machines. What is secret never becomes a
field; ``redact`` is the net below: fields with such names are hidden, and so is any text that looks like a token.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST

_SECRET_FIELDS = frozenset(
    {
        "authorization",
        "key",
        "passphrase",
        "password",
        "pin",
        "private_key",
        "revocation_secret",
        "secret",
        "token",
    }
)
_TOKEN = re.compile(r"ql_[a-z2-7]{16}_[A-Za-z0-9_-]{20,}")
HIDDEN = "(hidden)"

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


_SHARED = "PROMETHEUS_MULTIPROC_DIR"  # the library's own name for where processes put their figures together


def in_worker(name: str, figures: Path) -> None:
    """Say once, before anything is counted, that this is the worker ``name``: in each line, and in ``figures``.

    Its figures lie there under its name, so that whoever replaces it counts on, and any worker can tell the sums of all.
    """
    structlog.contextvars.bind_contextvars(worker=name)
    os.environ[_SHARED] = str(figures)
    slot = name.replace(" ", "-").replace("_", "-")
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


class Metrics:
    """What Prometheus scrapes. A registry of its own, so that two servers in one process do not share figures.

    In a worker the figures are the sums over all workers; of gauges, the greatest or the one that was set last.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "quicklime_http_requests",
            "API requests, by operation and status",
            ["operation", "status"],
            registry=r,
        )
        self.request_seconds = Histogram(
            "quicklime_http_request_seconds",
            "Time from request to response",
            ["operation"],
            buckets=_SECONDS,
            registry=r,
        )
        self.certificates = Counter(
            "quicklime_certificates",
            "Certificates issued, by operation and profile",
            ["operation", "profile"],
            registry=r,
        )
        self.revocations = Counter(
            "quicklime_revocations", "Certificates revoked, by reason", ["reason"], registry=r
        )
        self.refusals = Counter("quicklime_refusals", "Requests refused, by code", ["code"], registry=r)
        self.ocsp_answers = Counter("quicklime_ocsp_answers", "OCSP answers, by kind", ["kind"], registry=r)
        self.crls = Counter("quicklime_crls_published", "CRLs published, by issuer", ["issuer"], registry=r)
        self.log_records = Gauge(
            "quicklime_log_records", "Records in the log", registry=r, multiprocess_mode="max"
        )
        self.view_lag = Gauge(
            "quicklime_view_lag_records",
            "Records that the views are behind the log",
            registry=r,
            multiprocess_mode="mostrecent",
        )
        self.open_plans = Gauge(
            "quicklime_open_plans",
            "Plans that are neither issued nor abandoned",
            registry=r,
            multiprocess_mode="mostrecent",
        )

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        if _SHARED not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what must not be logged, should it ever come this far."""
    for name, value in event.items():
        if name in _SECRET_FIELDS or isinstance(value, bytes):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = _TOKEN.sub(HIDDEN, value)
    return event


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Set up logging for this process; colours only on a terminal."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # libraries speak through `logging`: what they have to warn of is passed on, the rest is noise
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s", force=True)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


class Lines:
    """Every line that the authority logs. One method each, so that a name means one thing."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def serving(self, api: str, status: str, data_dir: str) -> None:
        self._log.info("serving", api=api, status=status, data_dir=data_dir)

    def stopping(self) -> None:
        self._log.info("stopping")

    def worker_started(self, worker: str, pid: int) -> None:
        self._log.info("worker started", worker=worker, pid=pid)

    def worker_ended(self, worker: str, pid: int, how: str, why: str, restart_seconds: float) -> None:
        self._log.error(
            "worker ended", worker=worker, pid=pid, how=how, why=why, restart_seconds=restart_seconds
        )

    def request_failed(self, request: str, operation: str, error: Exception) -> None:
        self._log.error("request failed", request=request, operation=operation, exc_info=error)

    def request_refused(self, request: str, operation: str, codes: str, detail: str) -> None:
        self._log.info(
            "request refused", request=request, operation=operation, codes=codes, detail=ascii(detail)[1:-1]
        )

    def issued(self, serial: str, names: tuple[str, ...], profile: str, requester: str, offset: int) -> None:
        self._log.info(
            "issued", serial=serial, names=names, profile=profile, requester=requester, offset=offset
        )

    def renewed(self, serial: str, predecessor: str, offset: int) -> None:
        self._log.info("renewed", serial=serial, predecessor=predecessor, offset=offset)

    def revoked(self, serial: str, reason: int) -> None:
        self._log.info("revoked", serial=serial, reason=reason)

    def plans_abandoned(self, serials: list[str]) -> None:
        self._log.warning("orphan plans given up", serials=serials)

    def task_failed(self, task: str, error: Exception, retry_seconds: float) -> None:
        self._log.error("background task failed", task=task, retry_seconds=retry_seconds, exc_info=error)

    def renewed_own(self, what: str, serial: str, not_after: int) -> None:
        self._log.info("own certificate issued", what=what, serial=serial, not_after=not_after)

    def crl_published(self, issuer: str, number: int, entries: int) -> None:
        self._log.info("CRL published", issuer=issuer, number=number, entries=entries)

    def projector_stopped(self, why: str) -> None:
        self._log.error("projector stopped", why=why)
