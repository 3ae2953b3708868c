"""Make the golden events and their schemas that are missing: `make vectors`.

What is there already is never written anew: golden bytes are golden because they do not follow the program. A changed event
shows as a failing test (`tests/unit/test_codec.py`); the mend is a new version of the event, not a new file here.

`vectors/events/<type>.json` holds the exact bytes of a record, `schemas/<type>.json` the JSON Schema of its envelope.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from quicklime import codec, events, protocol
from quicklime.events import Event, Requester
from quicklime.protocol import ProtocolEvent

ROOT = Path(__file__).resolve().parents[1]
EVENTS = ROOT / "vectors" / "events"
SCHEMAS = ROOT / "schemas"

AUTHORITY = "0b9f6a52-6f0c-4e1e-9d83-7a4f6f7d2c11"
EVENT_ID = "00112233445566778899aabbccddeeff"
WHEN = 1_795_000_000
SERIAL, PARENT = "4f" + "0a" * 19, "41" + "b7" * 19
ISSUER = "c0ffee" + "01" * 17
OPERATOR = Requester(kind="token", id="mfzwizlnmfzwizln", role="operator")

# One of each, every field filled in, so that each field's form is pinned.
EXAMPLES: tuple[Event, ...] = (
    events.AuthorityFounded(authority=AUTHORITY, name="Example", founded_at=WHEN),
    events.IssuerAdded(
        issuer=ISSUER,
        role="intermediate",
        certificate=b"0\x03\x02\x01\x01",
        added_at=WHEN,
        requester=Requester(kind="local", id="ada"),
    ),
    events.IssuerActivated(issuer=ISSUER, activated_at=WHEN + 1, requester=Requester(kind="local", id="ada")),
    events.CertificatePlanned(
        serial=SERIAL,
        issuer=ISSUER,
        profile="server",
        names=("dns:web.internal", "ip:10.0.0.1"),
        public_key=b"0\x03\x02\x01\x02",
        not_before=WHEN - 60,
        not_after=WHEN + 86_399,
        tbs=b"0\x03\x02\x01\x03",
        challenge=bytes(range(32)),
        revocation_secret_sha256=bytes(range(32, 64)),
        requester=OPERATOR,
        evidence=("dns:web.internal granted by *.internal", "ip:10.0.0.1 granted by ip:10.0.0.0/8"),
        lineage=PARENT,
        planned_at=WHEN,
        deadline=WHEN + 60,
        predecessor=PARENT,
        renewable_until=WHEN + 90_000,
        node="web-1",
        idempotency_sha256=bytes(range(64, 96)),
        request_sha256=bytes(range(96, 128)),
    ),
    events.CertificateIssued(serial=SERIAL, certificate=b"0\x03\x02\x01\x04", issued_at=WHEN),
    events.CertificateAbandoned(serial=SERIAL, cause="signing failed", abandoned_at=WHEN + 2),
    events.CertificateRevoked(
        serial=SERIAL, reason=1, revoked_at=WHEN + 3, requester=OPERATOR, invalidity_date=WHEN - 3600
    ),
    events.RevocationSecretAdded(
        serial=SERIAL, revocation_secret_sha256=bytes(range(128, 160)), added_at=WHEN + 4
    ),
    events.TokenCreated(
        token="mfzwizlnmfzwizln",
        token_sha256=bytes(range(160, 192)),
        role="requester",
        created_at=WHEN,
        expires_at=WHEN + 3600,
        requester=OPERATOR,
        label="build machine",
        names=("*.internal", "ip:10.0.0.0/8"),
        profiles=("server",),
        uses_max=3,
    ),
    events.TokenRevoked(token="mfzwizlnmfzwizln", revoked_at=WHEN + 5, requester=OPERATOR),
    events.RequestRefused(
        operation="renew",
        requester=Requester(kind="possession", id=PARENT),
        codes=("already-renewed",),
        detail="certificate was renewed already",
        refused_at=WHEN + 6,
        serial=PARENT,
    ),
    events.CRLPublished(
        issuer=ISSUER,
        number=WHEN,
        covers=42,
        this_update=WHEN,
        next_update=WHEN + 604_800,
        signature=b"\x30\x00",
        crl_sha256=bytes(range(192, 224)),
    ),
    events.CRLPublishedV2(
        issuer=ISSUER,
        number=WHEN * 1000 + 1,
        covers=42,
        this_update=WHEN,
        next_update=WHEN + 604_800,
        signature=b"\x30\x00",
        crl_sha256=bytes(range(192, 224)),
        shards=16,
        shard=7,
        scheduled=True,
        base=WHEN * 1000,
        base_covers=40,
        expired_before=WHEN - 86_400,
        expired_covers=30,
        distribution_points=("http://pki.example/crl/" + ISSUER + "/16/7.crl",),
        freshest="http://pki.example/crl/" + ISSUER + "/16/7-delta.crl",
    ),
)

ACCOUNT, ORDER, AUTHZ = (
    "k3fqz7jv2nq4h5rw6y3b7c2d4e",
    "o3fqz7jv2nq4h5rw6y3b7c2d4e",
    "a3fqz7jv2nq4h5rw6y3b7c2d4e",
)
ACME = Requester(kind="acme", id=ACCOUNT)
JWK = '{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'


def _with(event: type[Event], base: Event, **fields: object) -> Event:
    """``event`` with the fields of ``base``, some of them others."""
    values = {name: getattr(base, name) for name in base.__struct_fields__}
    return event(**(values | fields))


def _example(event: type[Event]) -> Event:
    return next(one for one in EXAMPLES if type(one) is event)


EXAMPLES = (
    *EXAMPLES,
    _with(
        events.CertificatePlannedV2,
        _example(events.CertificatePlanned),
        requester=ACME,
        evidence=("dns:web.internal validated by http-01 at 2026-11-18T11:06:40Z",),
    ),
    _with(events.CertificateRevokedV2, _example(events.CertificateRevoked), requester=ACME),
    _with(events.RequestRefusedV2, _example(events.RequestRefused), operation="issue", requester=ACME),
    events.ACMEKeyCreated(
        key=ORDER,
        directory="default",
        created_at=WHEN,
        expires_at=WHEN + 3600,
        requester=OPERATOR,
        label="build machine",
        names=("**.internal",),
        profiles=("server",),
        certificates_max=10,
    ),
    events.ACMEKeyRevoked(key=ORDER, revoked_at=WHEN + 1, requester=OPERATOR),
    events.ACMEAccountCreated(
        account=ACCOUNT,
        directory="default",
        jwk=JWK,
        thumbprint=bytes(range(32)),
        created_at=WHEN,
        address="10.0.0.7",
        contact=("mailto:ada@example.com",),
        terms="https://ca.internal/terms",
        binding=ORDER,
    ),
    events.ACMEAccountUpdated(
        account=ACCOUNT,
        updated_at=WHEN + 1,
        contact=("mailto:bob@example.com",),
        terms="https://ca.internal/terms",
    ),
    events.ACMEAccountKeyChanged(
        account=ACCOUNT, jwk=JWK, thumbprint=bytes(range(32, 64)), changed_at=WHEN + 2
    ),
    events.ACMEAccountClosed(account=ACCOUNT, status="deactivated", closed_at=WHEN + 3, requester=ACME),
)

_OBSERVED = (
    protocol.Observation(
        asked="GET http://web.internal/.well-known/acme-challenge/abc",
        of="10.0.0.7",
        answer="200 abc.def",
        at=WHEN + 4,
        perspective="dmz",
    ),
)

# The same of the protocol stream.
PROTOCOL_EXAMPLES: tuple[ProtocolEvent, ...] = (
    protocol.OrderCreated(
        order=ORDER,
        account=ACCOUNT,
        directory="default",
        names=("dns:*.web.internal", "ip:10.0.0.7"),
        profile="server",
        authorizations=(AUTHZ,),
        created_at=WHEN,
        expires_at=WHEN + 86_400,
        named_profile=True,
        replaces=PARENT,
    ),
    protocol.OrderFailed(order=ORDER, type="rejectedIdentifier", detail="no more", failed_at=WHEN + 9),
    protocol.AuthorizationCreated(
        authorization=AUTHZ,
        account=ACCOUNT,
        directory="default",
        name="dns:web.internal",
        methods=("dns-01",),
        token="ab" * 32,
        created_at=WHEN,
        expires_at=WHEN + 86_400,
        wildcard=True,
    ),
    protocol.ValidationRequested(authorization=AUTHZ, method="dns-01", requested_at=WHEN + 3),
    protocol.NameValidated(
        authorization=AUTHZ,
        method="dns-01",
        evidence=_OBSERVED,
        validated_at=WHEN + 4,
        expires_at=WHEN + 28_804,
    ),
    protocol.ValidationFailed(
        authorization=AUTHZ,
        method="dns-01",
        type="unauthorized",
        detail="none",
        evidence=_OBSERVED,
        failed_at=WHEN + 4,
    ),
    protocol.AuthorizationDeactivated(authorization=AUTHZ, deactivated_at=WHEN + 5),
)


def golden(event: Event | ProtocolEvent) -> bytes:
    """The bytes of ``event`` as today's program writes them, with fixed id, source and time."""
    return codec.encode(event, event_id=EVENT_ID, source=AUTHORITY, time_seconds=WHEN)


def schema(event: type[Event | ProtocolEvent]) -> str:
    """The JSON Schema (2020-12) of a record of this type: the CloudEvents envelope with its data."""
    (data,), components = msgspec.json.schema_components([event], ref_template="#/$defs/{name}")
    if "Requester" in components:
        components["Requester"]["properties"]["kind"]["enum"] = sorted(event.KINDS)
    text = {"type": "string"}
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$id": event.TYPE,
                "title": event.__name__,
                "type": "object",
                "properties": {
                    "specversion": {"const": "1.0"},
                    "id": text,
                    "source": {"type": "string", "pattern": "^urn:uuid:"},
                    "type": {"const": event.TYPE},
                    "subject": text,
                    "time": {"type": "string", "format": "date-time"},
                    "data": data,
                },
                "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
                "additionalProperties": False,
                "$defs": components,
            },
            indent=2,
        )
        + "\n"
    )


def main() -> None:
    made = []
    for event in (*EXAMPLES, *PROTOCOL_EXAMPLES):
        for path, content in (
            (EVENTS / f"{event.TYPE}.json", golden(event)),
            (SCHEMAS / f"{event.TYPE}.json", schema(type(event)).encode()),
        ):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                made.append(path.relative_to(ROOT))
    print("\n".join(f"made {path}" for path in made) or "nothing was missing")


if __name__ == "__main__":
    main()
