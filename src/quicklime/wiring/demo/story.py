"""What happened in the demonstration world, and when: a fleet that renews itself, and the things that go wrong in one.

Everything ordinary is drawn from a seed. Everything that a newcomer should find is written down here, one method each.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator

from quicklime.wiring.demo.world import Held, World, new_key

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
LIFETIME_DAYS = 30
SEED = 1729

_TEAMS = ("shop", "media", "data", "ops", "home", "lab", "office", "edge", "mail", "build")
_WORDS = (
    *("api", "auth", "billing", "cache", "catalog", "chat", "cron", "dns", "docs", "events"),
    *("feeds", "files", "forms", "gateway", "git", "graph", "hooks", "images", "index", "jobs"),
    *("keys", "ldap", "logs", "maps", "metrics", "notes", "orders", "photos", "proxy", "queue"),
)

Act = Callable[[], Awaitable[None]]


class Story:
    """Everything that will happen, in the order of its time. ``live`` makes it so."""

    def __init__(self, world: World, *, begin: int, end: int, services: int) -> None:
        self._world = world
        self._begin = begin
        self._end = end
        self._services = services
        self._random = random.Random(SEED)  # noqa: S311  a story, not a secret
        self._acts: list[tuple[int, int, Act]] = []
        self._count = itertools.count()
        self._stops: dict[str, int] = {}
        self.held: dict[str, Held] = {}

    async def live(self, progress: Callable[[str], None]) -> None:
        """From the founding to now. Raises Refused and Fault as the desks do, where the story does not expect it."""
        world = self._world
        everything = ("**.internal", "**.home.arpa", "ip:10.0.0.0/8")
        self._deployer = await world.identity(
            "cluster deployer", *everything, profiles=("server", "client", "peer")
        )
        self._operator = await world.identity("grace (operator)", role="operator")
        self._intern = await world.identity(
            "ci of the web team", "**.web.internal", "web.internal", profiles=("server",)
        )
        await world.identity("auditors", role="auditor")
        self._fleet()
        self._rotation()
        self._stuck_renewals()
        self._stolen_key()
        self._revoked()
        self._silent_nodes()
        self._refused_requests()
        total, told = len(self._acts), 0
        while self._acts:
            at, _, act = heapq.heappop(self._acts)
            if at > self._end:
                continue
            world.clock.now = at
            await act()
            done = (at - self._begin) * 10 // (self._end - self._begin)
            if done > told:
                told = done
                progress(f"living through {(self._end - self._begin) // DAY_SECONDS} days: {told * 10} %")
        del total
        world.clock.now = self._end

    # --- what is ordinary -------------------------------------------------------------------------------------------

    def _at(self, when: int, act: Act) -> None:
        heapq.heappush(self._acts, (when, next(self._count), act))

    def _ago(self, days: float) -> int:
        return self._end - int(days * DAY_SECONDS)

    def _fleet(self) -> None:
        for place, name in zip(range(self._services), self._service_names(), strict=False):
            nodes = 3 if place % 5 else self._random.choice((1, 2, 4))
            kind = "rsa" if place % 17 == 5 else "ed25519" if place % 11 == 3 else "ecdsa"
            start = self._begin + self._random.randrange(20 * DAY_SECONDS)
            if place % 9 == 4:  # some came later
                start = self._ago(self._random.uniform(25, 120))
            for node in range(1, nodes + 1):
                host = f"{name.split('.')[0]}-{node}"
                self._node(name, host, start + self._random.randrange(6 * HOUR_SECONDS), kind=kind)

    def _service_names(self) -> Iterator[str]:
        for round_, team in itertools.product(range(3), _TEAMS):
            for word in _WORDS[round_ * 10 : round_ * 10 + 10]:
                yield f"{word}.{team}.internal"

    def _node(
        self,
        name: str,
        host: str,
        start: int,
        *,
        kind: str = "ecdsa",
        profile: str = "server",
        again: bool = False,
    ) -> str:
        """One node of a service: it gets a certificate and replaces it at two thirds of its life, until it stops.

        ``again`` where a node of that name begins anew.
        """
        node_id = f"{host}@{name}" + (" again" if again else "")

        async def first() -> None:
            key = new_key(kind, self._random.randrange(2))
            held = await self._world.issue(
                self._deployer,
                (f"dns:{name}", f"dns:{host}.{name.partition('.')[2]}"),
                key=key,
                node=host,
                profile=profile,
                validity_seconds=LIFETIME_DAYS * DAY_SECONDS,
            )
            assert held is not None
            self._keep(node_id, held, kind)

        self._at(start, first)
        return node_id

    def _keep(self, node_id: str, held: Held, kind: str) -> None:
        self.held[node_id] = held
        due = held.certificate.planned_at + int(
            LIFETIME_DAYS * DAY_SECONDS * (2 / 3) + self._random.gauss(0, 4 * HOUR_SECONDS)
        )

        async def replace() -> None:
            if self._world.clock.now >= self._stops.get(node_id, self._end + 1):
                return
            current = self.held[node_id]
            renewed = await self._world.renew(current, key=new_key(kind, self._random.randrange(2)))
            if renewed is not None:
                self._keep(node_id, renewed, kind)

        self._at(due, replace)

    # --- what a newcomer should find --------------------------------------------------------------------------------

    def _rotation(self) -> None:
        self._at(self._ago(61), self._world.rotate)

    def _stuck_renewals(self) -> None:
        """mail-2 lost its key with its disk: what it signs with now is not the key that was certified."""
        for host in ("mx-1", "mx-2", "mx-3"):
            self._node("mx.mail.internal", host, self._ago(88.4))
        stuck = "mx-2@mx.mail.internal"
        self._stops[stuck] = self._ago(12)

        async def try_in_vain() -> None:
            other = new_key("ecdsa", 0)
            await self._world.renew(self.held[stuck], key=other, by=other)

        for days in (8.2, 7.7, 6.9, 5.5, 3.5, 1.5, 0.6, 0.2):
            self._at(self._ago(days), try_in_vain)

        # and one whose new request asks for more than the old certificate had
        for host in ("portal-1", "portal-2"):
            self._node("portal.office.internal", host, self._ago(67.6))
        wider = "portal-2@portal.office.internal"
        self._stops[wider] = self._ago(9.5)

        async def ask_for_more() -> None:
            held = self.held[wider]
            names = (*held.certificate.names, "dns:intranet.office.internal")
            await self._world.renew(held, key=new_key("ecdsa", 0), names=tuple(sorted(names)))

        for days in (7.4, 6.8, 5.8, 4.8, 2.8, 0.8):
            self._at(self._ago(days), ask_for_more)

    def _stolen_key(self) -> None:
        """Somebody copied the key of vault-1 and renewed first: its true holder is told that it was renewed already."""
        for host in ("vault-1", "vault-2", "vault-3"):
            self._node("vault.ops.internal", host, self._ago(145.6))
        stolen = "vault-1@vault.ops.internal"
        self._stops[stolen] = self._ago(9)
        first: list[Held] = []

        async def thief() -> None:
            owner = self.held[stolen]
            taken = await self._world.renew(owner, key=new_key("ecdsa", 0), node="unknown-host")
            if taken is not None:
                first.append(taken)

        async def owner_tries() -> None:
            await self._world.renew(self.held[stolen], key=new_key("ecdsa", 0))

        self._at(self._ago(6.3), thief)
        for days in (2.0, 1.6, 1.1, 0.4):
            self._at(self._ago(days), owner_tries)

    def _revoked(self) -> None:
        """A laptop was lost; a runner was replaced; a key was found in a repository, and the node got a new certificate."""

        async def laptop() -> None:
            held = await self._world.issue(
                self._deployer,
                ("dns:ada.laptops.internal",),
                key=new_key("ecdsa", 0),
                node="ada's laptop",
                profile="client",
                validity_seconds=LIFETIME_DAYS * DAY_SECONDS,
            )
            assert held is not None
            self.held["laptop"] = held

        async def lost() -> None:
            await self._world.revoke(self.held["laptop"], 1, self._operator)

        self._at(self._ago(20), laptop)
        self._at(self._ago(4.5), lost)
        runner = self._node("runner.build.internal", "runner-1", self._ago(100))
        self._stops[runner] = self._ago(31)

        async def replaced() -> None:
            await self._world.revoke(self.held[runner], 5)

        self._at(self._ago(30.5), replaced)
        for host in ("pay-1", "pay-2", "pay-3"):
            self._node("pay.shop.internal", host, self._ago(122))
        leaked = "pay-3@pay.shop.internal"
        self._stops[leaked] = self._ago(45)

        async def leak() -> None:
            await self._world.revoke(self.held[leaked], 1, self._operator)

        self._at(self._ago(44.2), leak)
        self._node("pay.shop.internal", "pay-3", self._ago(43.1), again=True)

    def _silent_nodes(self) -> None:
        """Nodes that no longer ask: one is late, one has ended, one was gone for some days and came back, one is retired."""
        for host in ("backup-1", "backup-2"):
            self._node("backup.data.internal", host, self._ago(106.5))
        self._stops["backup-2@backup.data.internal"] = self._ago(10)
        wiki = self._node("wiki.office.internal", "wiki", self._ago(92))
        self._stops[wiki] = self._ago(24.5)
        for host in ("cam-1", "cam-2"):
            self._node("cam.home.internal", host, self._ago(150.2), kind="ed25519")
        away = "cam-2@cam.home.internal"
        self._stops[away] = self._ago(75)

        async def comes_back() -> None:
            del self._stops[away]
            held = self.held[away]
            fresh = await self._world.issue(
                self._deployer,
                held.certificate.names,
                key=new_key("ed25519", 0),
                node="cam-2",
                validity_seconds=LIFETIME_DAYS * DAY_SECONDS,
            )
            assert fresh is not None
            self._keep(away, fresh, "ed25519")

        self._at(self._ago(48), comes_back)
        old = self._node("ftp.media.internal", "ftp", self._begin + DAY_SECONDS)
        self._stops[old] = self._begin + 70 * DAY_SECONDS

    def _refused_requests(self) -> None:
        """A pipeline that asks for names that are not its own."""

        async def ask() -> None:
            await self._world.issue(
                self._intern, ("dns:grafana.ops.internal",), key=new_key("ecdsa", 0), node="pipeline 7"
            )

        for days in (26.1, 11.4, 11.3, 3.2, 0.3):
            self._at(self._ago(days), ask)
