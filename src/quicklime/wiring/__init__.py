"""The composition root: settings become objects. The only importer of adapters."""

from quicklime.wiring.acme import account_desk
from quicklime.wiring.backends import create_topic, log_url
from quicklime.wiring.copying import Copied, copy_log
from quicklime.wiring.demo import make_demo
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.doctor import Finding, doctor
from quicklime.wiring.founding import (
    Initialised,
    InitRequest,
    initialise,
    rotation_finish,
    rotation_request,
    rotation_sign,
)
from quicklime.wiring.local import Local, open_local, opened, opened_log, scratch_store
from quicklime.wiring.serving import Served, serve
from quicklime.wiring.settings import check
from quicklime.wiring.snapshot import restore_snapshot, write_snapshot
from quicklime.wiring.verification import verify

__all__ = [
    "Copied",
    "DataDirectory",
    "Finding",
    "InitRequest",
    "Initialised",
    "Local",
    "Served",
    "account_desk",
    "check",
    "copy_log",
    "create_topic",
    "doctor",
    "initialise",
    "log_url",
    "make_demo",
    "open_local",
    "opened",
    "opened_log",
    "restore_snapshot",
    "rotation_finish",
    "rotation_request",
    "rotation_sign",
    "scratch_store",
    "serve",
    "verify",
    "write_snapshot",
]
