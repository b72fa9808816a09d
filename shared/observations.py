"""What was observed of an installation, and the troubles in it: a pure function over data.

Ages are seconds, measured by the observer; this file reads no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.troubles import RANK, TroubleFound, made

STUCK_S: Final = 120.0
"""Seconds that a message may be due, or a webhook wait, before it is a trouble: more than a restart and its backoff."""
DEAD_MANY: Final = 10
"""Dead letters of one connection in an hour: fewer are wrong numbers, as every list of recipients has them."""
HOOK_FAILING_S: Final = 600.0
"""Seconds in which a subscriber takes nothing: more than a deployment at its side."""
DOCUMENTS_STUCK_S: Final = 900.0
"""Seconds that a document may wait to be indexed: more than one of the largest takes, or three tries of a bad one."""
DISK_LOW_MB: Final = 500.0
"""Megabytes: PostgreSQL writes 16 MB of its log at a time, and a busy hour writes several hundred."""
MEMORY_SHARE: Final = 0.9
"""Share of the hard limit. Above the soft limit, at which a process is drained and replaced in good order."""


@dataclass(frozen=True, kw_only=True)
class ProcessSeen:
    """One slot.

    Attributes:
        status: `healthy`, `degraded`, `down`, `stopped` or `unknown`. state: of the slot, if known. host: where it is,
            if that is another host.
    """

    kind: str
    instance: int
    status: str
    state: str = ""
    reason: str = ""
    silent_s: float | None = None
    since_s: float | None = None
    memory_mb: float | None = None
    limit_mb: float = 0.0
    host: str = ""

    @property
    def slot(self) -> str:
        """Its name, with the host if that is another one."""
        return f"{self.kind}-{self.instance}" + (f"@{self.host}" if self.host else "")


@dataclass(frozen=True, kw_only=True)
class TroubleReported:
    """What a process says of itself by its heartbeat (`Heartbeat.report`)."""

    slot: str
    code: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ConnectionSeen:
    """One connection with its queue. `observed`: state of a browser session; `due`, `held`, `dead`: counts of messages,
    `dead` of the last hour; `oldest_due_s`: how long the oldest one has been due.
    """

    company_id: str
    phone_index: int
    kind: str
    is_paused: bool = False
    reason: str = ""
    desired: str = "linked"
    observed: str = ""
    detail: str = ""
    account: str = ""
    warning: str = ""
    due: int = 0
    oldest_due_s: float = 0.0
    held: int = 0
    dead: int = 0
    since_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class CompanySeen:
    """One company. `state`: of `shared.states.CompanyState`. `waiting`: who waits for a human beyond the limit;
    `waiting_s`: the first of them, for how long. `documents`: those that wait to be indexed, `documents_s`: the first
    of them, for how long; `documents_failed`: those of the last day that cannot be.
    """

    company_id: str
    state: str = "active"
    waiting: int = 0
    waiting_s: float = 0.0
    documents: int = 0
    documents_s: float = 0.0
    documents_failed: int = 0


@dataclass(frozen=True, kw_only=True)
class HookSeen:
    """One subscriber that is disabled or fails. `company_id`: whose; empty: the installation's."""

    hook_id: int
    company_id: str
    state: str = "active"
    reason: str = ""
    failing_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class InboundSeen:
    """Raw webhooks of one kind: how many wait and since when the oldest does, and how many of the last day failed."""

    kind: str
    waiting: int = 0
    oldest_s: float = 0.0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What was observed of one installation.

    Attributes:
        database, redis: why it takes no writes; empty: it does. orchestrator: whether its report is fresh.
        processes: every slot that should run. reported: what they say of themselves. senders: kinds that send, and
            that some connection needs.
        free_mb: space on the home's disk; None: not known. sandbox_types: connection types whose messages go there.
    """

    database: str = ""
    redis: str = ""
    orchestrator: bool = True
    processes: Sequence[ProcessSeen] = ()
    reported: Sequence[TroubleReported] = ()
    senders: Sequence[str] = ()
    connections: Sequence[ConnectionSeen] = ()
    companies: Sequence[CompanySeen] = ()
    hooks: Sequence[HookSeen] = ()
    inbound: Sequence[InboundSeen] = ()
    free_mb: float | None = None
    sandbox_types: Sequence[str] = field(default_factory=tuple)


def find(seen: Observations) -> list[TroubleFound]:
    """Return every trouble in what was observed, the worst first."""
    found = [
        *_of_service(seen),
        *_of_kinds(seen),
        *(trouble for one in seen.processes for trouble in _of_process(one)),
        *(made(one.code, slot=one.slot, **one.values) for one in seen.reported),
        *(trouble for one in seen.companies for trouble in _of_company(one)),
        *(trouble for one in seen.hooks for trouble in _of_hook(one)),
        *(trouble for one in seen.connections for trouble in _of_connection(one)),
    ]
    return sorted(found, key=lambda one: RANK[one.code])


def _of_service(seen: Observations) -> Iterable[TroubleFound]:
    if seen.database:
        yield made("database_unavailable", reason=seen.database)
    if seen.redis:
        yield made("redis_unavailable", reason=seen.redis)
    if not seen.orchestrator:
        yield made("orchestrator_missing")
    if seen.free_mb is not None and seen.free_mb < DISK_LOW_MB:
        yield made("disk_low", free_mb=round(seen.free_mb))
    for inbound in seen.inbound:
        if inbound.waiting and inbound.oldest_s > STUCK_S:
            yield made(
                "inbound_stuck",
                process=inbound.kind,
                count=inbound.waiting,
                oldest_s=round(inbound.oldest_s),
                since_s=inbound.oldest_s,
            )
        if inbound.failed:
            yield made("inbound_failed", process=inbound.kind, count=inbound.failed)
    if seen.sandbox_types:
        yield made("sandbox_in_use", types=", ".join(seen.sandbox_types))


def _of_kinds(seen: Observations) -> Iterable[TroubleFound]:
    slots = Counter(one.kind for one in seen.processes)
    ready = Counter(one.kind for one in seen.processes if one.status == "healthy")
    stopped = Counter(one.kind for one in seen.processes if one.status == "stopped")
    # without one that should send, whatever the reason: also where an operator stopped all of them
    idle = [kind for kind in seen.senders if not ready[kind]]
    if idle and len(idle) == len(seen.senders):
        yield made("no_sender", kinds=", ".join(idle))
    for kind in slots:
        if not ready[kind] and slots[kind] > stopped[kind]:
            reasons = [one.reason or one.state or one.status for one in seen.processes if one.kind == kind]
            yield made("kind_down", process=kind, reason="; ".join(dict.fromkeys(reasons)))


def _of_process(seen: ProcessSeen) -> Iterable[TroubleFound]:
    reason = seen.reason or "no reason given"
    if seen.status not in ("healthy", "stopped"):
        if seen.state == "misconfigured":
            yield made("process_misconfigured", slot=seen.slot, reason=reason, since_s=seen.since_s)
        elif seen.state == "quarantined":
            yield made("process_quarantined", slot=seen.slot, reason=reason, since_s=seen.since_s)
        elif seen.silent_s is not None and reason.startswith("no heartbeat"):
            yield made("process_silent", slot=seen.slot, silent_s=round(seen.silent_s), since_s=seen.silent_s)
        else:
            state = seen.state or seen.status
            yield made("process_not_ready", slot=seen.slot, state=state, reason=reason, since_s=seen.since_s)
    if seen.limit_mb and seen.memory_mb and seen.memory_mb > MEMORY_SHARE * seen.limit_mb:
        yield made(
            "memory_high",
            slot=seen.slot,
            kind=seen.kind.upper(),
            memory_mb=round(seen.memory_mb),
            limit_mb=round(seen.limit_mb),
        )


def _of_company(seen: CompanySeen) -> Iterable[TroubleFound]:
    if seen.state == "suspended":
        yield made("company_suspended", company_id=seen.company_id)
    if seen.waiting:
        yield made(
            "customers_waiting",
            company_id=seen.company_id,
            count=seen.waiting,
            oldest_s=round(seen.waiting_s),
            since_s=seen.waiting_s,
        )
    if seen.documents and seen.documents_s > DOCUMENTS_STUCK_S:
        yield made(
            "documents_stuck",
            company_id=seen.company_id,
            count=seen.documents,
            oldest_s=round(seen.documents_s),
            since_s=seen.documents_s,
        )
    if seen.documents_failed:
        yield made("documents_failed", company_id=seen.company_id, count=seen.documents_failed)


def _of_hook(seen: HookSeen) -> Iterable[TroubleFound]:
    about: dict[str, Any] = {"hook_id": seen.hook_id} | ({"company_id": seen.company_id} if seen.company_id else {})
    whose = "" if seen.company_id else "installation_"
    if seen.state == "disabled":
        yield made(f"{whose}hook_disabled", reason=seen.reason or "no reason given", **about)
    elif seen.failing_s > HOOK_FAILING_S:
        yield made(f"{whose}hook_failing", oldest_s=round(seen.failing_s), since_s=seen.failing_s, **about)


_OF_SESSION: Final = {
    "logged_out": "session_link_lost",
    "conflict": "session_conflict",
    "offline": "session_offline",
    "quarantined": "session_quarantined",
    "degraded": "session_not_ready",
    "backing_off": "session_not_ready",
}
"""Troubles by the state of a session that should be linked."""


def _of_connection(seen: ConnectionSeen) -> Iterable[TroubleFound]:
    about: dict[str, Any] = {"company_id": seen.company_id, "phone_index": seen.phone_index}
    if seen.is_paused:
        yield made("connection_paused", reason=seen.reason or "no reason given", **about)
    if seen.desired == "linked":
        code = _OF_SESSION.get(seen.observed)
        if seen.observed == "needs_link":
            # an account is known once a phone was linked
            code = "session_link_lost" if seen.account else "session_needs_link"
        if code:
            reason = seen.detail or seen.observed
            yield made(code, state=seen.observed, reason=reason, since_s=seen.since_s, **about)
    if seen.warning:
        yield made("connection_warning", reason=seen.warning, **about)
    # a pause is named already, and then the queue waits on purpose
    if seen.due and seen.oldest_due_s > STUCK_S and not seen.is_paused:
        since_s = seen.oldest_due_s
        yield made("queue_stuck", count=seen.due, oldest_s=round(since_s), since_s=since_s, **about)
    if seen.held:
        yield made("messages_held", count=seen.held, **about)
    if seen.dead:
        yield made("dead_letters" if seen.dead >= DEAD_MANY else "dead_letters_few", count=seen.dead, **about)
