"""Nonces (RFC 8555, Section 6.5): made by any replica, good at every replica, once, also after a restart.

A nonce is its moment, some lots and a MAC over both: nothing is stored when one is made. That one was used is stored, beside the
orders that the replicas share. Where that store was lost, every nonce from before it is refused, so none is good twice; clients
take the fresh one from the refusal.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Sequence

from quicklime.pki.jws import Unacceptable, base64url, octets_of
from quicklime.projection import Batch, Store

LIFETIME_SECONDS = 3600
SKEW_SECONDS = 60
TABLE = "acme-nonces"
_SINCE = b"since"
_OCTETS = 32
_FORGET_MAX = 16


class Nonces:
    """``clock`` gives microseconds since 1970, ``entropy`` lots; ``secret`` is the same at every replica."""

    def __init__(
        self, store: Store, secret: bytes, clock: Callable[[], int], entropy: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._key = hmac.digest(secret, b"quicklime-acme-nonce-v1", "sha256")
        self._clock = clock
        self._entropy = entropy
        with store.write() as batch:
            if batch.get(TABLE, _SINCE) is None:
                batch.put(TABLE, _SINCE, clock().to_bytes(8, "big"))

    def make(self) -> str:
        body = self._clock().to_bytes(8, "big") + self._entropy(8)
        return base64url(body + self._mac(body))

    async def take(self, nonce: object) -> None:
        """Use it up. Raises Unacceptable (``badNonce``) where it is none, old, or was used."""
        try:
            octets = octets_of(nonce, "nonce")
        except Unacceptable:
            octets = b""
        body = octets[:16]
        if len(octets) != _OCTETS or not hmac.compare_digest(self._mac(body), octets[16:]):
            raise Unacceptable("badNonce", "the nonce is not one of this server")
        made, now = int.from_bytes(body[:8], "big"), self._clock()
        # the clocks of two replicas differ a little
        if not made - SKEW_SECONDS * 1_000_000 <= now <= made + LIFETIME_SECONDS * 1_000_000:
            raise Unacceptable("badNonce", f"the nonce is older than {LIFETIME_SECONDS} s")
        old = (now - (LIFETIME_SECONDS + SKEW_SECONDS) * 1_000_000).to_bytes(8, "big")
        forgotten = [
            key for key, _ in self._store.scan(TABLE, prefix=b"u", limit=_FORGET_MAX) if key[1:9] < old
        ]
        with self._store.write_at_once() as batch:
            taken = None if batch is None else self._take(batch, body, forgotten)
        if taken is None:
            taken = await asyncio.to_thread(self._take_waiting, body, forgotten)
        if not taken:
            raise Unacceptable(
                "badNonce", "the nonce was used before, or is from before this store of used ones"
            )

    def _take_waiting(self, body: bytes, forgotten: Sequence[bytes]) -> bool:
        with self._store.write() as batch:
            return self._take(batch, body, forgotten)

    def _take(self, batch: Batch, body: bytes, forgotten: Sequence[bytes]) -> bool:
        since = batch.get(TABLE, _SINCE)
        if since is None:
            # the store was emptied under us: what was used is forgotten, so nothing from before counts
            since = self._clock().to_bytes(8, "big")
            batch.put(TABLE, _SINCE, since)
        if body[:8] < since or batch.get(TABLE, b"u" + body) is not None:
            return False
        batch.put(TABLE, b"u" + body, b"")
        for key in forgotten:
            batch.delete(TABLE, key)
        return True

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:16]
