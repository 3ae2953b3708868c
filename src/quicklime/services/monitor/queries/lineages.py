"""Lineages: the chains of certificates that replaced each other, one lane per node of a service name; and who has which."""

from __future__ import annotations

from collections.abc import Sequence

from quicklime.projection.tabular import Tabular, Value
from quicklime.services.monitor import wire
from quicklime.services.monitor.queries import shapes
from quicklime.services.monitor.queries.moment import Moment, number, text
from quicklime.web.render import moment as parsed
from quicklime.web.render import timestamp

LINKS_MAX = 3000
REFUSALS_MAX = 1000
SERVICES_SCANNED_MAX = 20_000
CERTIFICATES_PER_SERVICE_MAX = 2000
# a node whose last certificate ended longer ago is history, not a fault
FORGOTTEN_SECONDS = 30 * 86_400
ALREADY_RENEWED = "already-renewed"


def services(
    index: Tabular, moment: Moment, *, search: str | None, after: str | None, limit: int
) -> wire.ServicePage:
    """Services in the order of their names, each with the state of its nodes. A service is what a certificate is named for
    first (``label``); by whatever other name it bears, its lanes are found too.
    """
    rows = index.select(
        "SELECT name, certificates, instr(name, :q) FROM services WHERE name > :after ORDER BY name LIMIT :scanned"
        if search
        else "SELECT name, certificates, 1 FROM services WHERE name > :after ORDER BY name LIMIT :limit",
        {"after": after or "", "q": search, "scanned": SERVICES_SCANNED_MAX, "limit": limit + 1},
    )
    fitting = [(text(name), number(count)) for name, count, fits in rows if fits]
    shown = fitting[:limit]
    following = None
    if len(fitting) > limit:
        following = shown[-1][0]
    elif search and len(rows) == SERVICES_SCANNED_MAX:
        following = text(rows[-1][0])
    found = [_service(index, name, count, moment) for name, count in shown]
    return wire.ServicePage(
        services=[one for one in found if one is not None], next=following, as_of=moment.shown()
    )


def _service(index: Tabular, name: str, count: int, moment: Moment) -> wire.ServiceRow | None:
    rows = index.select(
        f"SELECT {shapes.COLUMNS} FROM names AS n CROSS JOIN certificates AS c ON c.offset = n.offset "  # noqa: S608
        f"WHERE n.name = :name AND {moment.is_there} AND {moment.is_not_replaced} "
        "ORDER BY n.offset DESC LIMIT :limit",
        moment.parameters() | {"name": name, "limit": CERTIFICATES_PER_SERVICE_MAX},
    )
    states: list[wire.LaneState] = []
    ends: list[str] = []
    for row in rows:
        certificate = shapes.certificate(row, moment)
        state = _state(certificate, [], moment)
        if not _is_forgotten(certificate, moment):
            states.append(state)
        if certificate.status == "valid":
            ends.append(certificate.not_after)
    if not rows and not moment.live:
        return None
    return wire.ServiceRow(
        name=name,
        certificates=count,
        nodes=len(states),
        good=states.count("good"),
        due=states.count("due"),
        bad=len([state for state in states if state in ("late", "failing", "expired")]),
        next_end=min(ends, default=None),
    )


def lineages(index: Tabular, name: str, moment: Moment) -> wire.Lineages:
    """The lanes of ``name``; those with a living certificate first, by node."""
    rows = index.select(
        f"SELECT {shapes.COLUMNS} FROM names AS n CROSS JOIN certificates AS c ON c.offset = n.offset "  # noqa: S608
        f"WHERE n.name = :name AND {moment.is_there} ORDER BY n.offset DESC LIMIT :limit",
        moment.parameters() | {"name": name, "limit": LINKS_MAX},
    )
    chains = _by_node([shapes.certificate(row, moment) for row in reversed(rows)])
    refusals = _refusals(index, [one.serial for chain in chains for one in chain], moment)
    lanes = [lane(chain, refusals, moment) for chain in chains]
    lanes.sort(
        key=lambda one: (
            _is_forgotten(one.links[-1].certificate, moment),
            one.node or "",
            one.links[0].certificate.offset,
        )
    )
    return wire.Lineages(name=name, lanes=lanes, is_whole=len(rows) < LINKS_MAX, as_of=moment.shown())


def _by_node(certificates: Sequence[wire.CertificateRow]) -> list[list[wire.CertificateRow]]:
    """Lineages, those that began on the same node together; ``certificates`` are oldest first."""
    lanes: dict[str, list[wire.CertificateRow]] = {}
    places: dict[str, str] = {}
    for one in certificates:
        place = places.setdefault(one.lineage, one.lineage if one.node is None else f"node {one.node}")
        lanes.setdefault(place, []).append(one)
    return list(lanes.values())


def lane_of(index: Tabular, lineage: str, moment: Moment) -> wire.Lane:
    """The whole lineage that ``lineage`` began, whatever names its certificates have."""
    rows = index.select(
        f"SELECT {shapes.COLUMNS} FROM certificates AS c WHERE c.lineage = :lineage AND {moment.is_there} "  # noqa: S608
        "ORDER BY c.offset DESC LIMIT :limit",
        moment.parameters() | {"lineage": lineage, "limit": LINKS_MAX},
    )
    chain = [shapes.certificate(row, moment) for row in reversed(rows)]
    return lane(chain, _refusals(index, [one.serial for one in chain], moment), moment)


def lane(
    chain: Sequence[wire.CertificateRow], refusals: dict[str, list[wire.RefusalRow]], moment: Moment
) -> wire.Lane:
    """One lineage as a lane; ``chain`` is oldest first."""
    by_serial = {one.serial: one for one in chain}
    links = []
    for one in chain:
        refused = refusals.get(one.serial, [])
        parent = None if one.predecessor is None else by_serial.get(one.predecessor)
        links.append(
            wire.Link(
                certificate=one,
                unusual=parent is not None and not _is_usual(one, parent),
                contested=any(ALREADY_RENEWED in refusal.codes for refusal in refused),
                refusals=refused,
            )
        )
    newest = chain[-1]
    return wire.Lane(
        lineage=newest.lineage,
        node=chain[0].node,
        state=_lane_state(links, moment),
        due_at=newest.due_at,
        links=links,
        gaps=_gaps(chain, moment),
    )


def _is_usual(one: wire.CertificateRow, parent: wire.CertificateRow) -> bool:
    """Whether it was got as renewals are: for the same node, and by proof of the old key or by who got the one before."""
    if one.node != parent.node:
        return False
    if one.requester.kind in ("possession", "system"):
        return True
    return (one.requester.kind, one.requester.id) == (parent.requester.kind, parent.requester.id)


def _lane_state(links: Sequence[wire.Link], moment: Moment) -> wire.LaneState:
    newest = links[-1]
    state = _state(newest.certificate, newest.refusals, moment)
    if state in ("good", "due", "late") and any(_is_contested(link, moment) for link in links):
        return "contested"
    return state


def _is_contested(link: wire.Link, moment: Moment) -> bool:
    """Whether somebody lately tried to renew it after it had been renewed."""
    return link.contested and any(
        parsed(one.time, "") > moment.now - FORGOTTEN_SECONDS
        for one in link.refusals
        if ALREADY_RENEWED in one.codes
    )


def _state(newest: wire.CertificateRow, refused: Sequence[wire.RefusalRow], moment: Moment) -> wire.LaneState:
    if newest.status != "valid":
        return newest.status
    if any(one.operation == "renew" for one in refused):
        return "failing"
    if newest.is_overdue:
        return "late"
    return "due" if parsed(newest.due_at, "due_at") < moment.now else "good"


def _is_forgotten(newest: wire.CertificateRow, moment: Moment) -> bool:
    end = newest.revoked_at if newest.status == "revoked" else newest.not_after
    return newest.status != "valid" and parsed(end or newest.not_after, "") < moment.now - FORGOTTEN_SECONDS


def _gaps(chain: Sequence[wire.CertificateRow], moment: Moment) -> list[wire.Gap]:
    """When no certificate of the lane was valid, from its first certificate to now."""
    found = []
    covered: int | None = None
    for one in sorted(chain, key=lambda certificate: certificate.not_before):
        begin, end = parsed(one.not_before, ""), parsed(one.not_after, "")
        if one.revoked_at is not None:
            end = min(end, parsed(one.revoked_at, ""))
        if covered is not None and begin > covered + 1:
            found.append(wire.Gap(timestamp(covered), timestamp(begin)))
        covered = end if covered is None else max(covered, end)
    if covered is not None and covered < moment.now:
        found.append(wire.Gap(timestamp(covered), None))
    return found


def _refusals(index: Tabular, serials: Sequence[str], moment: Moment) -> dict[str, list[wire.RefusalRow]]:
    """What was refused about these certificates, by serial, oldest first."""
    found: dict[str, list[wire.RefusalRow]] = {}
    left = REFUSALS_MAX
    for start in range(0, len(serials), 500):
        some = serials[start : start + 500]
        parameters: dict[str, Value] = {f"s{place}": serial for place, serial in enumerate(some)}
        rows = index.select(
            f"SELECT {shapes.REFUSAL_COLUMNS} FROM refusals AS r WHERE r.serial IN "  # noqa: S608
            f"({', '.join(':' + key for key in parameters)}) AND r.offset <= :o ORDER BY r.offset LIMIT :left",
            parameters | {"o": moment.offset, "left": left},
        )
        left -= len(rows)
        for row in rows:
            refusal = shapes.refusal(row)
            found.setdefault(refusal.serial or "", []).append(refusal)
    return found
