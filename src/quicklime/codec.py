"""Event <-> bytes: a CloudEvents 1.0 envelope in JSON (UTF-8), pinned by ``vectors/events``.

The bytes that are appended are the bytes for ever: nothing re-encodes a record. An event's type carries its version;
``UPCASTERS`` turns what an old type holds into today's class, so that old records decode for ever.

Members of the envelope: ``specversion`` "1.0", ``id`` (unique per event), ``source`` (``urn:uuid:`` of the authority),
``type``, ``subject``, ``time`` (RFC 3339), ``data`` (the fields of the class in ``events.py``; binary in base64).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from quicklime.errors import Fault, InvariantBroken
from quicklime.events import EVENTS, Event, Fact
from quicklime.protocol import PROTOCOL_EVENTS, ProtocolEvent


class Undecodable(Fault):
    """A record that is not an event of ours, or of a version from the future."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The CloudEvents attributes around an event's data (CloudEvents 1.0.2, Section 3)."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: msgspec.Raw


_encoder = msgspec.json.Encoder()
_envelope_decoder = msgspec.json.Decoder(Envelope)
_decoders: dict[str, msgspec.json.Decoder[Event]] = {
    event.TYPE: msgspec.json.Decoder(event) for event in EVENTS
}

# The same in one pass over the bytes, for a reader that knows the type beforehand.
_whole_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    event.TYPE: msgspec.json.Decoder(
        msgspec.defstruct(
            f"{event.__name__}Record",
            [*((name, str) for name in Envelope.__struct_fields__ if name != "data"), ("data", event)],
            frozen=True,
            gc=False,
        )
    )
    for event in EVENTS
}

_protocol_decoders: dict[str, msgspec.json.Decoder[ProtocolEvent]] = {
    event.TYPE: msgspec.json.Decoder(event) for event in PROTOCOL_EVENTS
}

# old type name -> (the data as plain JSON -> today's event). Empty until an event gets its second version.
UPCASTERS: Mapping[str, Callable[[Any], Event]] = {}


@lru_cache(maxsize=64)
def _time(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(event: Event | ProtocolEvent, *, event_id: str, source: str, time_seconds: int) -> bytes:
    """The bytes to append. ``time_seconds`` is when it happened (UNIX seconds), ``source`` the authority's UUID.

    Raises InvariantBroken where the requester is of a kind that the event's type can't name.
    """
    if not _names_its_kind(event):
        raise InvariantBroken(f"{event.TYPE} can't name the requester of {event.subject}")
    envelope = Envelope(
        specversion="1.0",
        id=event_id,
        source="urn:uuid:" + source,
        type=event.TYPE,
        subject=event.subject,
        time=_time(time_seconds),
        data=msgspec.Raw(_encoder.encode(event)),
    )
    return _encoder.encode(envelope)


def decode_envelope(value: bytes) -> Envelope:
    """The envelope alone. Raises Undecodable."""
    try:
        return _envelope_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(f"not a CloudEvents envelope: {error}") from error


def decode(value: bytes, kind: str = "") -> Event:
    """The event in ``value``; ``kind`` is its type, where that is known beforehand. Raises Undecodable."""
    decoder = _whole_decoders.get(kind)
    if decoder is not None:
        try:
            whole = decoder.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass  # what is wrong, the long way finds out; it may only be of another type than was said
        else:
            event: Event = whole.data
            if whole.type == kind and _names_its_kind(event):
                return event
    return _decode(value)


def _decode(value: bytes) -> Event:
    envelope = decode_envelope(value)
    upcast = UPCASTERS.get(envelope.type)
    decoder = _decoders.get(envelope.type)
    if upcast is None and decoder is None:
        raise Undecodable(f"type {envelope.type!r} is not known to this version of quicklime")
    try:
        if upcast is not None:
            return upcast(msgspec.json.decode(envelope.data))
        assert decoder is not None
        event = decoder.decode(envelope.data)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"data of {envelope.type!r}: {error}") from error
    if not _names_its_kind(event):
        # a program of that version could not have written it
        raise Undecodable(f"data of {envelope.type!r}: the requester is of a later kind")
    return event


def decode_protocol(value: bytes) -> ProtocolEvent:
    """The event in a record of the protocol stream. Raises Undecodable."""
    envelope = decode_envelope(value)
    decoder = _protocol_decoders.get(envelope.type)
    if decoder is None:
        raise Undecodable(f"type {envelope.type!r} is not known to this version of quicklime")
    try:
        return decoder.decode(envelope.data)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"data of {envelope.type!r}: {error}") from error


def _names_its_kind(event: Fact) -> bool:
    requester = getattr(event, "requester", None)
    return requester is None or requester.kind in event.KINDS
