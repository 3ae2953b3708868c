"""``log``: read the log as it stands, follow it, verify it, take it away."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from quicklime import codec, wiring
from quicklime.cli.output import CONTEXT, Found, Usage, safe
from quicklime.codec import Undecodable
from quicklime.log import Reader, Record

app = typer.Typer(help="The log.", no_args_is_help=True)

WAIT_SECONDS = 1.0


@app.command("tail")
def tail(
    count: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many records from the end.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """The last records, a line each."""
    with _log() as log:
        offset = max(0, log.head() - count)
        while True:
            for record in _records(log, offset):
                _line(record)
                offset = record.offset + 1
            if not follow:
                return
            sys.stdout.flush()
            log.wait(offset, WAIT_SECONDS)


@app.command("show")
def show(offset: Annotated[int, typer.Argument(help="The record's place in the log.")]) -> None:
    """One record, whole."""
    with _log() as log:
        found = log.read(offset, 1) if offset >= 0 else ()
        if not found:
            raise Usage(f"no record {offset}, the log has {log.head()}", hint="quicklime log tail")
        print(json.dumps({"offset": offset} | json.loads(found[0].value), indent=2))


@app.command("verify")
def verify() -> None:
    """Read every record: whether it decodes, and what was signed is what was planned, by an issuer of ours."""
    with wiring.opened(CONTEXT.config) as (_, log, _store, _projector):
        log.check()
        report = wiring.verify(log, CONTEXT.progress)
    content = {
        "records": report.records,
        "certificates": report.certificates,
        "refused": report.refused,
        "late": report.late,
        "faults": [{"offset": offset, "fault": fault} for offset, fault in report.faults],
    }

    def text() -> None:
        print(
            f"{report.records} records, {report.certificates} certificates verified, "
            f"{report.refused} records that do not stand, {len(report.faults)} faults"
        )
        for offset in report.late:
            print(f"late at {offset}: signed after its plan was given up, and handed out to nobody")
        for offset, fault in report.faults:
            print(f"fault at {offset}: {safe(fault)}")

    CONTEXT.result(content, text)
    if report.faults:
        raise Found


@app.command("export")
def export(
    to: Annotated[Path | None, typer.Option(help="A file; without it, standard output.")] = None,
    start: Annotated[int, typer.Option("--from", min=0, help="The first offset.")] = 0,
) -> None:
    """Every record as a line of JSON: offset, type, and the exact bytes in base64."""
    with _log() as log:
        if to is None:
            for line in _exported(log, start):
                sys.stdout.write(line)
            return
        if to.exists():
            raise Usage(f"{to} is there already", hint="name another file")
        with to.open("x", encoding="utf-8") as file:
            for line in _exported(log, start):
                file.write(line)
        CONTEXT.progress(f"wrote {to}")


@app.command("create")
def create(
    url: Annotated[
        str | None, typer.Argument(help="kafka://host:port,.../topic; by default log.url.")
    ] = None,
) -> None:
    """Make the Kafka topic for a log: one partition, kept for ever, as many replicas as log.replicas says."""
    made = wiring.create_topic(CONTEXT.config, url)
    CONTEXT.result({"url": made}, lambda: print(f"made {made}"))


@app.command("copy")
def copy(
    to: Annotated[str, typer.Option("--to", help="kafka://host:port,.../topic, or sqlite:PATH.")],
    source: Annotated[str | None, typer.Option("--from", help="By default the authority's own log.")] = None,
) -> None:
    """Copy a log with its offsets and bytes, and compare all of it; a copy that was cut off goes on."""
    source = source or wiring.log_url(CONTEXT.config)
    copied = wiring.copy_log(CONTEXT.config, source, to, CONTEXT.progress)
    content = {
        "from": source,
        "to": to,
        "records": copied.records,
        "copied": copied.copied,
        "digest": copied.digest,
    }
    CONTEXT.result(
        content,
        lambda: print(
            f"{copied.records} records, {copied.copied} of them copied now, all the same: {copied.digest}"
        ),
    )


@contextmanager
def _log() -> Iterator[Reader]:
    with wiring.opened_log(CONTEXT.config) as log:
        yield log


def _records(log: Reader, start: int) -> Iterator[Record]:
    while page := log.read(start):
        yield from page
        start = page[-1].offset + 1


def _exported(log: Reader, start: int) -> Iterator[str]:
    for record in _records(log, start):
        line = {"offset": record.offset, "type": record.type, "value": b64encode(record.value).decode()}
        yield json.dumps(line) + "\n"


def _line(record: Record) -> None:
    try:
        envelope = codec.decode_envelope(record.value)
    except Undecodable as error:
        if CONTEXT.output == "json":
            print(json.dumps({"offset": record.offset, "error": str(error)}))
        else:
            print(f"{record.offset:>8}  {safe(record.type)}  can't be read: {safe(error)}")
        return
    if CONTEXT.output == "json":
        print(json.dumps({"offset": record.offset} | json.loads(record.value)))
        return
    kind = envelope.type.removeprefix("quicklime.")
    data = msgspec.json.decode(envelope.data)
    print(
        f"{record.offset:>8}  {safe(envelope.time)}  {safe(kind):<28}  {safe(envelope.subject)}  {safe(_gist(data))}"
    )


def _gist(data: dict[str, object]) -> str:
    """What a person wants to know of an event, in a few words."""
    words = []
    for key in ("names", "profile", "predecessor", "reason", "role", "codes", "number", "status", "cause"):
        value = data.get(key)
        if value not in (None, [], ""):
            shown = ",".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"{key}={shown}")
    return " ".join(words)
