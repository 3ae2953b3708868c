"""A world in which everything goes wrong that may: several processes over one log, by the lots of one seed.

A step is one of: somebody who waits goes on, with luck or without; a view takes up records; a command comes; a process dies or
starts, with or without its store; a clock jumps; the log is hidden or shows itself; what was under way arrives. After every
step the world is checked (``_check``). In the end everything is mended, and whatever was answered must be found again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Any

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.authority.commands import Granted, IssueCommand, RenewCommand
from quicklime.authority.founding import FoundCommand
from quicklime.authority.revocation import RevokeCommand
from quicklime.authority.tokens import CreateToken
from quicklime.errors import Code, Fault, Refused
from quicklime.events import Requester
from quicklime.lifecycle.certificate import renewal_message, revocation_message
from quicklime.log import MemoryLog
from quicklime.pki import csr
from quicklime.pki.certificate import issuer_id
from quicklime.pki.issuer import sign_intermediate
from quicklime.pki.shards import Scope
from quicklime.pki.signer import Signer
from quicklime.policy import Identity
from quicklime.projection import Projector, open_plans
from quicklime.wiring.local import VIEWS
from quicklime.wiring.verification import verify
from tests.simulation.process import Process, start
from tests.simulation.reference import Reference
from tests.support.authority import ADA, AUTHORITY, EVERYTHING, Subscriber
from tests.support.flaky import FATES, FlakyLog, FlakyStore, Stage
from tests.support.lab import NOW, URLS, lab

NAMES = (("dns:a.lab.internal",), ("dns:a.lab.internal", "dns:b.lab.internal"), ("dns:c.lab.internal",))
KEYS_OF_REQUESTS = (None, None, "one", "two")
SUBSCRIBERS = 24
PROCESSES_MAX = 3
COMMANDS_MAX = 12
AGAIN_REFUSED = {
    Code.IDEMPOTENCY_CONFLICT,
    Code.KEY_COMPROMISED,
    Code.TOKEN_EXHAUSTED,
    Code.TOKEN_EXPIRED,
    Code.TOKEN_REVOKED,
    Code.TOKEN_UNKNOWN,
    Code.ISSUER_UNAVAILABLE,
}
OPERATOR = Identity(
    requester=Requester(kind="local", id="ada", role="admin"),
    role="admin",
    names=EVERYTHING,
    profiles=("server",),
)


@cache
def _subscriber(number: int) -> Subscriber:
    del number
    return Subscriber.new()


@cache
def _request(number: int, names: tuple[str, ...]) -> csr.CheckedCSR:
    return csr.parse(_subscriber(number).csr(*names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A certificate that somebody got, with all that was told to them."""

    granted: Granted
    subscriber: int
    claim: tuple[str, str] | None

    @property
    def serial(self) -> str:
        return self.granted.certificate.serial


class World:
    """``story`` is what happened, for whoever looks at a failure. ``counts`` says what was met at all."""

    def __init__(self, seed: int) -> None:
        self.lots = random.Random(seed)
        self.entropy = random.Random(~seed)
        self.log = MemoryLog()
        self.stage = Stage()
        self.reference = Reference(self.log)
        self.now = NOW + 86_400
        self.processes: list[Process] = []
        self.stores: list[FlakyStore] = []  # what dead processes left
        self.late: list[FlakyLog] = []
        self.signers: dict[str, Signer] = {lab().facts.issuer: lab().signer}
        self.held: list[Held] = []
        self.by_claim: dict[tuple[str, str], str] = {}
        self.claimed: list[Held] = []  # those of them that were asked for under an Idempotency-Key
        self.tokens: list[str] = []
        self.revocations: dict[str, int] = {}
        self.story: list[str] = []
        self.counts: Counter[str] = Counter()
        self._started = 0
        self._failure: BaseException | None = None

    # --- from the beginning to the end ------------------------------------------------------------------------------

    async def run(self, steps: int) -> None:
        await self._found()
        for number in range(steps):
            await self._step()
            await self._check(number)
        await self._mend()

    async def _found(self) -> None:
        process = self._start(FlakyStore())
        home = lab()
        founding = process.founding.found(
            FoundCommand(
                authority=AUTHORITY,
                name="Lab",
                root=home.root,
                intermediate=home.intermediate,
                requester=ADA,
            )
        )
        await self._see_through(process, founding)
        # one without limit and one with few uses, so that there is something to run out of
        for uses_max in (None, 1, 2):
            await self._see_through(process, self._create_token(process, uses_max, self.lots))

    async def _mend(self) -> None:
        """All die, what was under way arrives, one process starts without a store: nothing that was answered is missing."""
        for process in tuple(self.processes):
            await self._kill(process)
        for log in self.late:
            await log.deliver()
        self.reference.catch_up()
        process = self._start(FlakyStore())
        await self._see_through(process, self._give_up_orphans(process))
        assert not open_plans(process.store), "a plan is open after a start"
        for held in self.held:
            self._check_found_again(held)
        for held in self.claimed:
            with contextlib.suppress(Refused):
                await self._see_through(process, self._issue_again(process, held))
        for issuer in process.issuers.here():
            await self._see_through(process, process.publisher.publish_where_due())
            self._check_list(process, issuer.issuer)
        await self._check(0)
        self.reference.check_no_secret_in_clear()
        report = verify(self.log, lambda _: None)
        assert not report.faults, report.faults
        assert report.certificates == len(self.reference.issued)

    async def _see_through(self, process: Process, work: Awaitable[object]) -> None:
        """Do ``work`` while everything goes well."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self._settle()
            for pause in tuple(self.stage.waiting):
                pause.future.set_result("go")
            process.follower.turn()
        await task

    # --- a step -----------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        choices: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (60 if self.stage.waiting else 0, self._go_on),
            (8 if self.processes else 0, self._take_up),
            (14 if self.processes and self._busy() < COMMANDS_MAX else 0, self._command),
            (3 if len(self.processes) < PROCESSES_MAX else 0, self._start_one),
            (1 if len(self.processes) > 1 or self.lots.random() < 0.3 else 0, self._kill_one),
            (2, self._move_clock),
            (2 if self.processes else 0, self._trouble),
            (2 if any(log.late for log in self.late) else 0, self._deliver),
        ]
        weights = [weight for weight, _ in choices]
        (choice,) = self.lots.choices([choice for _, choice in choices], weights)
        await choice()
        await self._settle()

    async def _settle(self) -> None:
        """Everybody runs until he waits for a lot, or for a view."""
        for _ in range(12):
            await asyncio.sleep(0)

    def _busy(self) -> int:
        return sum(len(process.tasks) for process in self.processes)

    def _tell(self, what: str) -> None:
        self.story.append(f"{self.log.head():4} {what}")

    async def _go_on(self) -> None:
        pause = self.lots.choice(self.stage.waiting)
        bad = FATES[pause.where]
        fate = self.lots.choice(bad) if bad and self.lots.random() < 0.08 else "go"
        self._tell(f"{pause.process}: {pause.where} {fate}")
        self.counts[f"{pause.where} {fate}"] += 1
        pause.future.set_result(fate)

    async def _take_up(self) -> None:
        process = self.lots.choice(self.processes)
        alive = process.follower.turn(self.lots.choice((1, 2, 1000)))
        self._tell(f"{process.name}: a turn of its view, now at {process.follower.checkpoint}")
        if not alive:
            await self._kill(process)

    async def _start_one(self) -> None:
        how = self.lots.choice(("lost", "kept", "shared"))
        if how == "kept" and self.stores:
            store = self.stores.pop(self.lots.randrange(len(self.stores)))
        elif how == "shared" and self.processes:
            store = self.lots.choice(self.processes).store
        else:
            how, store = "lost", FlakyStore()
        process = self._start(store)
        self._tell(f"{process.name}: starts, store {how}")
        self.counts[f"start {how}"] += 1
        # as a server does it; with others alive it gives up what they are at, which is their bad luck and no more
        if len(self.processes) == 1 or self.lots.random() < 0.3:
            self._do(process, "orphans", self._give_up_orphans(process))

    async def _kill_one(self) -> None:
        if self.processes:
            process = self.lots.choice(self.processes)
            self._tell(f"{process.name}: dies with {len(process.tasks)} commands at hand")
            self.counts["death"] += 1
            await self._kill(process)

    async def _move_clock(self) -> None:
        seconds = self.lots.choice(
            (1, 1, 5, 5, 20, 20, -20, 61, -61, 3600, -3600, self.lots.choice((1, 20 * 86_400)))
        )
        self.now += seconds
        self.counts["clock"] += 1
        self._tell(f"the clocks move by {seconds} s")

    async def _trouble(self) -> None:
        process = self.lots.choice(self.processes)
        if self.lots.random() < 0.3:
            process.store.breaks = True
            self._tell(f"{process.name}: its next write will break off")
        else:
            process.log.unreadable = not process.log.unreadable
            self._tell(f"{process.name}: the log is {'hidden' if process.log.unreadable else 'there again'}")
        self.counts["trouble"] += 1

    async def _deliver(self) -> None:
        log = self.lots.choice([log for log in self.late if log.late])
        await log.deliver()
        self._tell("what was lost on its way arrives")
        self.counts["late"] += 1

    # --- processes --------------------------------------------------------------------------------------------------

    def _start(self, store: FlakyStore) -> Process:
        self._started += 1
        name = f"p{self._started}"
        skew = self.lots.choice((0, 0, 0, 40, -40, 3600, -3600))
        store.breaks = False
        process = start(
            name,
            log=FlakyLog(self.log, self.stage, name),
            store=store,
            stage=self.stage,
            witness=self.reference,
            signers=self.signers,
            clock=lambda: self.now + skew,
            entropy=self.entropy.randbytes,
        )
        self.processes.append(process)
        self.late.append(process.log)
        return process

    async def _kill(self, process: Process) -> None:
        self.processes.remove(process)
        process.log.dead = True
        for task in process.tasks:
            task.cancel()
        await asyncio.gather(*process.tasks, return_exceptions=True)
        if all(other.store is not process.store for other in self.processes):
            self.stores.append(process.store)

    async def _give_up_orphans(self, process: Process) -> None:
        while page := open_plans(process.store):
            for serial in page:
                await process.issuance.abandon(serial, "the process ended before it signed")

    # --- commands ---------------------------------------------------------------------------------------------------

    async def _command(self) -> None:
        process = self.lots.choice(self.processes)
        kinds: list[tuple[int, str, Callable[[Process, random.Random], Coroutine[Any, Any, None]]]] = [
            (12, "issue", self._issue),
            (10 if self.held else 0, "renew", self._renew),
            (6 if self.claimed else 0, "again", self._again),
            (3 if self.held else 0, "revoke", self._revoke),
            (2, "token", self._token),
            (1 if self.tokens else 0, "token revoke", self._revoke_token),
            (2, "crl", self._publish),
            (1, "rotate", self._rotate),
            (1, "orphans", lambda process, _: self._give_up_orphans(process)),
        ]
        (kind,) = self.lots.choices(kinds, [weight for weight, _, _ in kinds])
        # twice the same at once, now and then: the second is a retry, or somebody else with the same idea
        wish = self.lots.getrandbits(64)
        for _ in range(self.lots.choice((1, 1, 1, 2))):
            self._do(process, kind[1], kind[2](process, random.Random(wish)))
            await self._settle()
            process = self.lots.choice(self.processes)

    def _do(self, process: Process, kind: str, work: Coroutine[Any, Any, None]) -> None:
        self._tell(f"{process.name}: {kind}")
        task = asyncio.create_task(self._told(process, kind, work))
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)

    async def _told(self, process: Process, kind: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Refused as refused:
            self.counts[f"{kind} refused {refused.code}"] += 1
            self._tell(f"{process.name}: {kind} refused, {refused.reasons[0].detail}")
        except Fault as fault:
            self.counts[f"{kind} {type(fault).__name__}"] += 1
            self._tell(f"{process.name}: {kind} failed, {type(fault).__name__} {fault}")
        except Exception as error:
            self._failure = error
            raise
        else:
            self.counts[f"{kind} done"] += 1
            self._tell(f"{process.name}: {kind} answered")

    def _identity(self, process: Process, lots: random.Random) -> Identity:
        if self.tokens and lots.random() < 0.7:
            return process.guard._by_token(f"Bearer {lots.choice(self.tokens)}")
        return OPERATOR

    async def _issue(self, process: Process, lots: random.Random) -> None:
        subscriber, names = lots.randrange(SUBSCRIBERS), lots.choice(NAMES)
        key = lots.choice(KEYS_OF_REQUESTS)
        identity = self._identity(process, lots)
        granted = await process.issuance.issue(
            IssueCommand(
                identity=identity,
                csr=_request(subscriber, names),
                profile="server",
                idempotency_key=key,
            )
        )
        whose = f"{identity.requester.kind} {identity.requester.id}"
        self._answered(
            Held(granted=granted, subscriber=subscriber, claim=None if key is None else (whose, key))
        )

    async def _again(self, process: Process, lots: random.Random) -> None:
        """The same request by the same requester: mostly the latest, so that one certificate is asked for very often."""
        held = self.claimed[-1] if lots.random() < 0.8 else lots.choice(self.claimed)
        await self._issue_again(process, held)

    async def _issue_again(self, process: Process, held: Held) -> None:
        """A retry of what was answered: the same certificate, or a clear word."""
        assert held.claim is not None
        whose, key = held.claim
        requester = held.granted.certificate.requester
        identity = Identity(requester=requester, role="admin", names=EVERYTHING, profiles=("server",))
        command = IssueCommand(
            identity=identity,
            csr=_request(held.subscriber, held.granted.certificate.names),
            profile="server",
            idempotency_key=key,
        )
        try:
            again = await process.issuance.issue(command)
        except Refused as refused:
            # asked for too often; or a view that is behind, and the log's verdict over a second plan
            if any(reason.code not in AGAIN_REFUSED for reason in refused.reasons):
                raise AssertionError(f"a retry was refused: {refused.reasons}") from refused
            raise
        assert again.chain == held.granted.chain, "a retry got another certificate"
        self._answered(Held(granted=again, subscriber=held.subscriber, claim=(whose, key)))

    async def _renew(self, process: Process, lots: random.Random) -> None:
        # a few old ones again and again, or the youngest: both must be tried
        parent = lots.choice((lots.choice(self.held), self.held[-1]))
        to, key = lots.randrange(SUBSCRIBERS), lots.choice(KEYS_OF_REQUESTS)
        names = parent.granted.certificate.names if lots.random() < 0.9 else lots.choice(NAMES)
        request = _request(to, names)
        message = renewal_message(parent.granted.certificate.challenge, request.der)
        granted = await process.issuance.renew(
            RenewCommand(
                serial=parent.serial,
                csr=request,
                signature=_subscriber(parent.subscriber).sign(message),
                idempotency_key=key,
            )
        )
        assert granted.certificate.predecessor == parent.serial
        assert granted.certificate.lineage == parent.granted.certificate.lineage
        assert set(granted.certificate.names) <= set(parent.granted.certificate.names), "names widened"
        claim = None if key is None else (f"possession {parent.serial}", key)
        self._answered(Held(granted=granted, subscriber=to, claim=claim))

    def _answered(self, held: Held) -> None:
        """At the moment of the answer, the log holds it: to the byte, standing, with the secret that was told."""
        self.reference.catch_up()
        self._check_found_again(held)
        spki = _request(held.subscriber, NAMES[0]).spki
        assert held.granted.certificate.public_key == spki, "a certificate for another key was answered"
        self.reference.secrets.add(held.granted.revocation_secret)
        if held.claim is not None:
            first = self.by_claim.setdefault(held.claim, held.serial)
            assert first == held.serial or first in self.reference.abandoned, "one key got two certificates"
        self.held.append(held)
        if (
            held.claim is not None
            and held.granted.certificate.predecessor is None
            and not held.granted.repeated
        ):
            self.claimed.append(held)

    def _check_found_again(self, held: Held) -> None:
        offset, certificate = self.reference.issued[held.serial]
        assert offset == held.granted.offset
        assert certificate == held.granted.chain[0], f"{held.serial} is found again with other bytes"
        assert self.reference.knows_secret(held.serial, held.granted.revocation_secret), (
            f"the secret that was told for {held.serial} does not revoke it"
        )

    async def _revoke(self, process: Process, lots: random.Random) -> None:
        held = lots.choice(self.held)
        reason = lots.choice((0, 0, 1, 4, 4, 5, 9))
        proof = lots.choice(("secret", "signature", "identity", "wrong"))
        signature = None
        if proof == "signature":
            message = revocation_message(held.granted.certificate.challenge, held.serial, reason)
            signature = _subscriber(held.subscriber).sign(message)
        secret = {"secret": held.granted.revocation_secret, "wrong": bytes(32)}.get(proof)
        revoked = await process.revocation.revoke(
            RevokeCommand(
                serial=held.serial,
                reason=reason,
                secret=secret,
                signature=signature,
                identity=OPERATOR if proof == "identity" else None,
            )
        )
        assert proof != "wrong", "a wrong secret revoked"
        self.reference.catch_up()
        assert self.reference.revoked.get(held.serial) == revoked.revocation.offset, (
            "a revocation was answered that is not the one in the log"
        )

    async def _token(self, process: Process, lots: random.Random) -> None:
        await self._create_token(process, lots.choice((None, 1, 1, 2)), lots)

    async def _create_token(self, process: Process, uses_max: int | None, lots: random.Random) -> None:
        text, token = await process.tokens.create(
            CreateToken(
                role="requester",
                names=EVERYTHING,
                profiles=("server",),
                lifetime_seconds=lots.choice((600, 86_400, 86_400 * 300, 86_400 * 300, 86_400 * 300)),
                uses_max=uses_max,
            ),
            ADA,
        )
        self.reference.catch_up()
        assert self.reference.state.token(token.token) is not None
        self.reference.secrets.add(text.split("_", 2)[2].encode())
        self.tokens.append(text)

    async def _revoke_token(self, process: Process, lots: random.Random) -> None:
        text = lots.choice(self.tokens)
        await process.tokens.revoke(text.split("_")[1], ADA)
        self.reference.catch_up()
        found = self.reference.state.token(text.split("_")[1])
        assert found is not None
        assert found.revoked_at is not None, "a token's revocation was answered and is not in the log"

    async def _publish(self, process: Process, lots: random.Random) -> None:
        await process.publisher.publish_where_due()

    def _check_list(self, process: Process, issuer: str) -> None:
        """The list of just now can be made again to the byte, and names all that is revoked and not over for long."""
        current = process.lists.published(Scope(issuer=issuer))
        assert current is not None, "no list was published"
        der = process.lists.body(current)
        assert isinstance(der, bytes), "the list that was published can't be made again"
        for serial in self.reference.revoked:
            life = self.reference.certificate(serial)
            if life.issuer == issuer and life.not_after >= self.now + 7200:
                assert bytes.fromhex(serial) in der, f"{serial} is revoked and not on the list"

    async def _rotate(self, process: Process, lots: random.Random) -> None:
        if len(self.signers) > 3:
            return
        home = lab()
        signer = FileSigner(generate("ecdsa-p256"), "file:next.pem")
        certificate = sign_intermediate(
            home.root_signer,
            root=home.root,
            spki=signer.public_key,
            name=f"Lab Issuing CA {len(self.signers) + 1}",
            entropy=self.entropy.randbytes,
            now=NOW,
            days=1095,
            urls=URLS,
        )
        issuer = issuer_id(certificate)
        self.signers[issuer] = signer
        for one in self.processes:
            one.issuers.bring(issuer, signer)
        active = await process.founding.rotate(certificate, signer.public_key, ADA)
        assert active.issuer == issuer

    # --- the deep check ---------------------------------------------------------------------------------------------

    async def _check(self, number: int) -> None:
        if self._failure is not None:
            raise self._failure
        self.reference.catch_up()
        for process in self.processes:
            checkpoint = Projector(self.log, process.store, VIEWS).checkpoint()
            self.reference.check_view(process.name, process.store, checkpoint)
        if number % 20 == 0:
            self.reference.check_replay(self.lots.choice((1, 7, 1000)))
            self.reference.check_no_secret_in_clear()


def run(seed: int, steps: int) -> World:
    """One history. Raises AssertionError with the seed and the end of the story."""
    world = World(seed)
    try:
        asyncio.run(world.run(steps))
    except BaseException as error:
        told = "\n".join(world.story[-60:])
        raise AssertionError(
            f"seed {seed}, {steps} steps: {type(error).__name__}: {error}\n{told}"
        ) from error
    return world
