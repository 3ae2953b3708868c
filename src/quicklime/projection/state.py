"""Every life as a store has it: what decisions are made on, and what the fold reads and writes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from quicklime import lifecycle
from quicklime.lifecycle.account import Account, BindingKey
from quicklime.lifecycle.certificate import Certificate
from quicklime.lifecycle.issuer import Authority
from quicklime.lifecycle.token import Token
from quicklime.projection.store import Batch, Store

LIFECYCLE = "lifecycle"
LIVES_MAX = 5000

_encode = msgspec.msgpack.Encoder().encode
_decode_certificate = msgspec.msgpack.Decoder(Certificate).decode
_decode_token = msgspec.msgpack.Decoder(Token).decode
_decode_account = msgspec.msgpack.Decoder(Account).decode
_decode_binding = msgspec.msgpack.Decoder(BindingKey).decode
_decode_authority = msgspec.msgpack.Decoder(Authority).decode


class State:
    """Every life as the store has it: what decisions are made on. Also the fold's view of the past (``lifecycle.Lives``)."""

    def __init__(self, get: Callable[[str, bytes], bytes | None]) -> None:
        self._get = get
        self._authority: tuple[bytes, Authority] | None = None

    def certificate(self, serial: str) -> Certificate | None:
        data = self._get(LIFECYCLE, _certificate_key(serial))
        return None if data is None else _decode_certificate(data)

    def claim(self, idempotency_sha256: bytes) -> str | None:
        data = self._get(LIFECYCLE, b"i" + idempotency_sha256)
        return None if data is None else data.hex()

    def is_compromised(self, spki_sha256: bytes) -> bool:
        return self._get(LIFECYCLE, b"x" + spki_sha256) is not None

    def token(self, token: str) -> Token | None:
        data = self._get(LIFECYCLE, b"t" + token.encode())
        return None if data is None else _decode_token(data)

    def token_by_hash(self, token_sha256: bytes) -> Token | None:
        """The token whose secret has this SHA-256."""
        data = self._get(LIFECYCLE, b"h" + token_sha256)
        return None if data is None else _decode_token(data)

    def planned_with_token(self, serial: str) -> str | None:
        plan = self.certificate(serial)
        if plan is None or plan.status != "planned" or plan.requester.kind != "token":
            return None
        return plan.requester.id

    def acme_account(self, account: str) -> Account | None:
        data = self._get(LIFECYCLE, b"A" + account.encode())
        return None if data is None else _decode_account(data)

    def acme_account_of_key(self, directory: str, thumbprint: bytes) -> str | None:
        data = self._get(LIFECYCLE, _account_key(directory, thumbprint))
        return None if data is None else data.decode()

    def acme_key(self, key: str) -> BindingKey | None:
        data = self._get(LIFECYCLE, b"E" + key.encode())
        return None if data is None else _decode_binding(data)

    def planned_by_account(self, serial: str) -> str | None:
        plan = self.certificate(serial)
        if plan is None or plan.status != "planned" or plan.requester.kind != "acme":
            return None
        return plan.requester.id

    def authority(self) -> Authority | None:
        data = self._get(LIFECYCLE, b"a")
        if data is None:
            return None
        if self._authority is None or self._authority[0] != data:
            self._authority = (data, _decode_authority(data))
        return self._authority[1]


class Folding(State):
    """The state while records are folded: decoded lives are kept, because a plan is followed closely by its issuance.

    Certificates are encoded and put when the batch is at its end (``flush``), since most change twice in it.

    Invariant: holds only while nobody else changes the store. Whoever keeps one from batch to batch sees to that.
    """

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.get)
        self._batch = batch
        self._certificates: dict[str, Certificate | None] = {}
        self._tokens: dict[str, Token | None] = {}
        self._founded: Authority | None = None
        # serial -> whether the store knows it as an open plan
        self._changed: dict[str, bool] = {}

    def go_on(self, batch: Batch) -> None:
        """The next batch, over what the last one left."""
        self._batch, self._get = batch, batch.get
        for lives in (self._certificates, self._tokens):
            if len(lives) > LIVES_MAX:
                lives.clear()

    def certificate(self, serial: str) -> Certificate | None:
        try:
            return self._certificates[serial]
        except KeyError:
            found = self._certificates[serial] = super().certificate(serial)
            return found

    def token(self, token: str) -> Token | None:
        if token not in self._tokens:
            self._tokens[token] = super().token(token)
        return self._tokens[token]

    def authority(self) -> Authority | None:
        if self._founded is None:
            self._founded = super().authority()
        return self._founded

    def keep(self, changes: lifecycle.Changes) -> None:
        for serial, certificate in changes.certificates.items():
            if serial not in self._changed:
                before = self._certificates.get(serial)
                self._changed[serial] = before is not None and before.status == "planned"
            self._certificates[serial] = certificate
        if changes.claims or changes.compromised or changes.tokens or changes.authority is not None:
            self._keep_others(changes)
        acme = changes.acme
        if acme.accounts or acme.keys:
            self._keep_accounts(acme)

    def _keep_others(self, changes: lifecycle.Changes) -> None:
        put, delete = self._batch.put, self._batch.delete
        for claim, serial_or_none in changes.claims.items():
            if serial_or_none is None:
                delete(LIFECYCLE, b"i" + claim)
            else:
                put(LIFECYCLE, b"i" + claim, bytes.fromhex(serial_or_none))
        for spki_sha256 in changes.compromised:
            put(LIFECYCLE, b"x" + spki_sha256, b"")
        for name, token in changes.tokens.items():
            self._tokens[name] = token
            # twice, because each request looks it up by its hash
            encoded = _encode(token)
            put(LIFECYCLE, b"t" + name.encode(), encoded)
            put(LIFECYCLE, b"h" + token.token_sha256, encoded)
        if changes.authority is not None:
            self._founded = changes.authority
            put(LIFECYCLE, b"a", _encode(changes.authority))

    def _keep_accounts(self, changes: lifecycle.account.Changes) -> None:
        put, delete = self._batch.put, self._batch.delete
        for identifier, account in changes.accounts.items():
            put(LIFECYCLE, b"A" + identifier.encode(), _encode(account))
        for identifier, binding in changes.keys.items():
            put(LIFECYCLE, b"E" + identifier.encode(), _encode(binding))
        for (directory, thumbprint), holder in changes.by_key.items():
            if holder is None:
                delete(LIFECYCLE, _account_key(directory, thumbprint))
            else:
                put(LIFECYCLE, _account_key(directory, thumbprint), holder.encode())

    def flush(self) -> None:
        """Put what has changed into the batch, which is about to end."""
        put = self._batch.put
        for serial, was_open in self._changed.items():
            certificate = self._certificates[serial]
            assert certificate is not None
            key = bytes.fromhex(serial)
            put(LIFECYCLE, b"c" + key, _encode(certificate))
            if certificate.status == "planned":
                put(LIFECYCLE, b"o" + key, b"")
            elif was_open:
                self._batch.delete(LIFECYCLE, b"o" + key)
        self._changed.clear()


def open_plans(store: Store, limit: int = 1000) -> list[str]:
    """The serials of plans that are neither issued nor abandoned."""
    return [key[1:].hex() for key, _ in store.scan(LIFECYCLE, prefix=b"o", limit=limit)]


def tokens(store: Store, *, after: str | None = None, limit: int = 1000) -> list[Token]:
    """Every token, by id."""
    start = None if after is None else b"t" + after.encode()
    return [_decode_token(value) for _, value in store.scan(LIFECYCLE, prefix=b"t", after=start, limit=limit)]


def acme_accounts(store: Store, *, after: str | None = None, limit: int = 1000) -> list[Account]:
    """Every ACME account, by id."""
    start = None if after is None else b"A" + after.encode()
    return [
        _decode_account(value) for _, value in store.scan(LIFECYCLE, prefix=b"A", after=start, limit=limit)
    ]


def acme_keys(store: Store, *, after: str | None = None, limit: int = 1000) -> list[BindingKey]:
    """Every key of external account binding, by id."""
    start = None if after is None else b"E" + after.encode()
    return [
        _decode_binding(value) for _, value in store.scan(LIFECYCLE, prefix=b"E", after=start, limit=limit)
    ]


def _account_key(directory: str, thumbprint: bytes) -> bytes:
    return b"B" + thumbprint + directory.encode()


def _certificate_key(serial: str) -> bytes:
    return b"c" + bytes.fromhex(serial)
