"""The log's format: what was written once decodes for ever, and what is not ours is told so."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quicklime import codec
from quicklime.codec import Undecodable
from quicklime.errors import InvariantBroken
from quicklime.events import EVENTS, CertificatePlannedV2, CertificateRevoked, Event, Requester
from quicklime.protocol import PROTOCOL_EVENTS, ProtocolEvent
from vectors.make import EVENTS as GOLDEN
from vectors.make import EXAMPLES, PROTOCOL_EXAMPLES, SCHEMAS, golden, schema


def test_every_event_has_an_example_a_vector_and_a_schema() -> None:
    types = {event.TYPE for event in (*EVENTS, *PROTOCOL_EVENTS)}
    assert {type(example) for example in EXAMPLES} == set(EVENTS)
    assert {type(example) for example in PROTOCOL_EXAMPLES} == set(PROTOCOL_EVENTS)
    assert {path.stem for path in GOLDEN.glob("*.json")} >= types
    assert {path.stem for path in SCHEMAS.glob("*.json")} >= types


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_the_golden_bytes_hold(example: Event) -> None:
    pinned = (GOLDEN / f"{example.TYPE}.json").read_bytes()
    assert golden(example) == pinned
    assert codec.decode(pinned) == example


@pytest.mark.parametrize("example", PROTOCOL_EXAMPLES, ids=lambda example: type(example).__name__)
def test_the_golden_bytes_of_the_protocol_stream_hold(example: ProtocolEvent) -> None:
    pinned = (GOLDEN / f"{example.TYPE}.json").read_bytes()
    assert golden(example) == pinned
    assert codec.decode_protocol(pinned) == example


def test_a_first_version_cannot_name_a_requester_of_a_later_kind() -> None:
    later = next(one for one in EXAMPLES if type(one) is CertificatePlannedV2)
    forged = golden(later).replace(b"planned.v2", b"planned.v1")
    with pytest.raises(Undecodable):
        codec.decode(forged)
    old = next(one for one in EXAMPLES if type(one) is CertificateRevoked)
    with pytest.raises(InvariantBroken):
        golden(msgspec.structs.replace(old, requester=Requester(kind="acme", id="x")))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_every_record_ever_pinned_decodes_and_fits_its_schema(path: Path) -> None:
    value = path.read_bytes()
    protocol = path.stem in {event.TYPE for event in PROTOCOL_EVENTS}
    assert path.stem == (codec.decode_protocol if protocol else codec.decode)(value).TYPE
    jsonschema.validate(json.loads(value), json.loads((SCHEMAS / path.name).read_text()))


@pytest.mark.parametrize("event", [*EVENTS, *PROTOCOL_EVENTS], ids=lambda event: event.__name__)
def test_the_schemas_are_those_of_the_vocabulary(event: type[Event | ProtocolEvent]) -> None:
    assert (SCHEMAS / f"{event.TYPE}.json").read_text() == schema(event)


def test_the_envelope_is_that_of_cloudevents() -> None:
    envelope = codec.decode_envelope(golden(EXAMPLES[0]))
    assert envelope.specversion == "1.0"
    assert envelope.source.startswith("urn:uuid:")
    assert envelope.type == EXAMPLES[0].TYPE
    assert envelope.subject == EXAMPLES[0].subject
    assert envelope.time == "2026-11-18T11:06:40Z"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b"[]",
        b'{"specversion":"1.0"}',
        golden(EXAMPLES[0]).replace(b"founded.v1", b"founded.v2"),
        golden(EXAMPLES[0]).replace(b'"name":"Example"', b'"name":7'),
        golden(EXAMPLES[0]).replace(b'"name":"Example"', b'"name":"Example","more":1'),
        golden(EXAMPLES[0])[:-1],
    ],
    ids=[
        "empty",
        "no envelope",
        "no utf-8",
        "a list",
        "half",
        "future version",
        "wrong type",
        "unknown field",
        "cut off",
    ],
)
def test_what_is_not_an_event_of_ours_is_told_so(value: bytes) -> None:
    with pytest.raises(Undecodable):
        codec.decode(value)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_raise_anything_else(value: bytes) -> None:
    with pytest.raises(Undecodable):
        codec.decode(value)
