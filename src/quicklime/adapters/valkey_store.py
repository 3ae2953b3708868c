"""Views on Valkey or Redis, where replicas share one store: all that a write puts, and its checkpoint, in one transaction.

A table is a hash (key -> value) and a sorted set of its keys (all of score 0, hence in the order of their octets). All our keys
share one hash tag, so they lie in one slot of a cluster.

Invariants:

* A write holds a lease. Its ``EXEC`` watches the lease: a writer that was paused until another had it writes nothing.
* A store that was emptied, or filled anew, is never taken for what it was: each filling has a generation of its own, each read
  looks at it in the same round trip, and one that this process has not written into is refused until its projector has.

Nothing here is flushed to a disk for our sake: what is lost is read again from the log. Every read waits for a round trip.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import valkey

from quicklime.errors import BrokenState, Fault
from quicklime.projection.store import StoreUnavailable

KEY_OCTETS_MAX = 511  # as LMDB's, so that whoever moves finds no other limit
LEASE_SECONDS = 30.0
ANSWER_SECONDS_MAX = 5.0
LOOK_SECONDS_MIN = 0.0005
LOOK_SECONDS_MAX = 0.02
COMMAND_PAIRS_MAX = 500
SCAN_PAIRS_MAX = 1000

# What stands between two bounds of the sorted set, with its values: one state, one round trip.
_SCAN = """
local found = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local values = {}
if #found > 0 then values = redis.call('HMGET', KEYS[1], unpack(found)) end
return {found, values, redis.call('GET', KEYS[3])}
"""
_EXTEND = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class ValkeyStore:
    """``projection.Store`` in the server that ``url`` names (``valkey://``, ``valkeys://``, ``redis://``, ``rediss://``).

    ``options`` go to the client: user, password, TLS files. Raises BrokenState where the server can't be used at the start, and
    StoreUnavailable later: it may come back, and what was lost meanwhile is filled in from the log.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "quicklime",
        lease_seconds: float = LEASE_SECONDS,
        **options: Any,  # noqa: ANN401  the client's own
    ) -> None:
        self._name = f"{prefix} in {url.rpartition('@')[2].rpartition('//')[2]}"
        self._tag = b"{" + prefix.encode() + b"}"
        self._lease_seconds = lease_seconds
        self._writing = threading.Lock()
        self._generation: bytes | None = None
        self._filling = False
        self._lease_since = 0.0
        self._closed = False
        try:
            self._client = valkey.Valkey.from_url(
                url,
                socket_timeout=ANSWER_SECONDS_MAX,
                socket_connect_timeout=ANSWER_SECONDS_MAX,
                health_check_interval=0,
                **options,
            )
            memory: Any = self._client.info("memory")
        except (valkey.ValkeyError, ValueError, OSError) as error:
            raise BrokenState(
                f"can't use the views of {self._name}: {error}",
                hint="start the server, or look at views in the settings",
            ) from error
        if memory.get("maxmemory", 0) and memory.get("maxmemory_policy") != "noeviction":
            raise BrokenState(
                f"the server of {self._name} forgets keys when its memory is full ({memory.get('maxmemory_policy')})",
                hint="valkey-cli config set maxmemory-policy noeviction, and in its configuration file",
            )
        self._scan = self._client.register_script(_SCAN)
        self._extend = self._client.register_script(_EXTEND)
        self._release = self._client.register_script(_RELEASE)

    def get(self, table: str, key: bytes) -> bytes | None:
        self._check_whole()
        with self._reading():
            pipe = self._client.pipeline(transaction=False)
            pipe.hget(self._hash(table), key)  # type: ignore[arg-type]  # octets are as good
            pipe.get(self._generation_key)
            found, generation = pipe.execute()  # type: ignore[no-untyped-call]
        self._check_generation(generation)
        return found if isinstance(found, bytes) else None

    def get_within(self, table: str, key: bytes) -> bytes | None:
        """As ``get``, for who holds the lease."""
        with self._reading():
            found: Any = self._client.hget(self._hash(table), key)  # type: ignore[arg-type]  # octets are as good
        return found if isinstance(found, bytes) else None

    def scan(
        self, table: str, *, prefix: bytes = b"", after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        self._check_whole()
        pairs: list[tuple[bytes, bytes]] = []
        while len(pairs) < limit:
            count = min(limit - len(pairs), SCAN_PAIRS_MAX)
            with self._reading():
                keys, values, generation = self._scan(
                    keys=[self._hash(table), self._order(table), self._generation_key],
                    args=[*_bounds(prefix, after), count],
                )
            self._check_generation(generation)
            pairs += zip(keys, values, strict=True)
            if len(keys) < count:
                break
            after = keys[-1]
        return pairs

    @contextmanager
    def write(self) -> Iterator[_Batch]:
        with self._writing:
            self._check_open()
            token = secrets.token_bytes(16)
            self._take_lease(token)
            batch = _Batch(self, lambda: self._keep_lease(token))
            try:
                generation = self._stored_generation() or secrets.token_bytes(16)
                yield batch
                self._commit(batch, token, generation)
                self._generation = generation  # not before: until then reads are of what was
            except BaseException:
                with contextlib.suppress(valkey.ValkeyError, OSError):
                    self._release(keys=[self._lease_key], args=[token])
                raise

    @contextmanager
    def write_at_once(self) -> Iterator[_Batch | None]:
        """Never: the store is on another machine, or behind a socket of this one."""
        self._check_open()
        yield None

    def withhold(self, filling: bool) -> None:
        self._filling = filling

    def close(self) -> None:
        with self._writing:
            self._closed = True
            self._client.close()  # type: ignore[no-untyped-call]

    # --- the parts of a write ---------------------------------------------------------------------------------------

    def _take_lease(self, token: bytes) -> None:
        pause = LOOK_SECONDS_MIN
        until = time.monotonic() + 2 * self._lease_seconds
        while True:
            with self._reading():
                taken = self._client.set(self._lease_key, token, nx=True, px=int(self._lease_seconds * 1000))
            if taken:
                self._lease_since = time.monotonic()
                return
            if time.monotonic() > until:
                raise StoreUnavailable(f"others write into the views of {self._name} without a pause")
            time.sleep(pause)
            pause = min(pause * 2, LOOK_SECONDS_MAX)

    def _keep_lease(self, token: bytes) -> None:
        """A long write goes on having its turn."""
        now = time.monotonic()
        if now - self._lease_since > self._lease_seconds / 3:
            self._lease_since = now
            with self._reading():
                self._extend(keys=[self._lease_key], args=[token, int(self._lease_seconds * 1000)])

    def _stored_generation(self) -> bytes | None:
        with self._reading():
            found = self._client.get(self._generation_key)
        return found if isinstance(found, bytes) else None

    def _commit(self, batch: _Batch, token: bytes, generation: bytes) -> None:
        lost = StoreUnavailable(f"the lease on the views of {self._name} was lost; nothing was written")
        with self._reading(), self._client.pipeline(transaction=True) as pipe:
            try:
                pipe.watch(self._lease_key)  # type: ignore[no-untyped-call]
                if pipe.get(self._lease_key) != token:
                    raise lost
                pipe.multi()
                batch.send(pipe)
                pipe.set(self._generation_key, generation)
                pipe.delete(self._lease_key)
                pipe.execute()  # type: ignore[no-untyped-call]
            except valkey.WatchError:
                raise lost from None

    # --- small parts ------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._check_open()
        try:
            yield
        except (valkey.ValkeyError, OSError) as error:
            raise StoreUnavailable(f"the views of {self._name} can't be used: {error}") from error

    def _check_generation(self, found: object) -> None:
        if found == self._generation:
            return
        if self._generation is None and isinstance(found, bytes):
            self._generation = found  # the first look of a process that has not written yet
            return
        raise StoreUnavailable(f"the views of {self._name} were emptied; they are being filled from the log")

    def _check_whole(self) -> None:
        if self._filling:
            raise StoreUnavailable(
                f"the views of {self._name} were emptied; they are being filled from the log"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise Fault("the store is closed")

    def _hash(self, table: str) -> bytes:
        return self._tag + b":h:" + table.encode()

    def _order(self, table: str) -> bytes:
        return self._tag + b":o:" + table.encode()

    @property
    def _lease_key(self) -> bytes:
        return self._tag + b":lease"

    @property
    def _generation_key(self) -> bytes:
        return self._tag + b":generation"


class _Batch:
    """What one write is about to change; nothing of it is sent before the write ends."""

    def __init__(self, store: ValkeyStore, keep_lease: Callable[[], None]) -> None:
        self._store = store
        self._keep_lease = keep_lease
        self._changes: dict[str, dict[bytes, bytes | None]] = {}
        self._cleared: set[str] = set()

    def get(self, table: str, key: bytes) -> bytes | None:
        changes = self._changes.get(table)
        if changes is not None and key in changes:
            return changes[key]
        self._keep_lease()
        return None if table in self._cleared else self._store.get_within(table, key)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        if (octets := len(table.encode()) + 1 + len(key)) > KEY_OCTETS_MAX:
            raise Fault(f"key of {octets} octets with its table, expected at most {KEY_OCTETS_MAX}")
        self._changes.setdefault(table, {})[key] = value

    def delete(self, table: str, key: bytes) -> None:
        self._changes.setdefault(table, {})[key] = None

    def clear(self, table: str) -> None:
        self._cleared.add(table)
        self._changes.pop(table, None)

    def send(self, pipe: Any) -> None:  # noqa: ANN401  the client's pipeline
        """Queue all changes in the open transaction."""
        names = self._store._hash, self._store._order  # noqa: SLF001  of this module
        for table in self._cleared:
            pipe.unlink(*(name(table) for name in names))
        for table, changes in self._changes.items():
            values, order = (name(table) for name in names)
            puts = [(key, value) for key, value in changes.items() if value is not None]
            gone = [key for key, value in changes.items() if value is None]
            for start in range(0, len(puts), COMMAND_PAIRS_MAX):
                some = puts[start : start + COMMAND_PAIRS_MAX]
                pipe.hset(values, items=[part for pair in some for part in pair])
                pipe.zadd(order, {key: 0 for key, _ in some})
            for start in range(0, len(gone), COMMAND_PAIRS_MAX):
                pipe.hdel(values, *gone[start : start + COMMAND_PAIRS_MAX])
                pipe.zrem(order, *gone[start : start + COMMAND_PAIRS_MAX])


def _bounds(prefix: bytes, after: bytes | None) -> tuple[bytes, bytes]:
    """The keys that start with ``prefix`` and are greater than ``after``, as ``ZRANGEBYLEX`` writes it."""
    lower = b"(" + after if after is not None and after >= prefix else b"[" + prefix
    end = prefix.rstrip(b"\xff")
    upper = b"(" + end[:-1] + bytes([end[-1] + 1]) if end else b"+"
    return lower, upper
