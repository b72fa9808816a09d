"""Heartbeats, metrics and events of processes: typed functions for `queries/processes.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.kinds import KINDS
from shared.store.pool import Row, Transaction, json, records


@dataclass(frozen=True, kw_only=True, slots=True)
class HeartbeatRow:
    """What a slot reports of itself.

    Attributes:
        home_id: names the home behind the host's name. lease_s: for how long it may send. shared_facts: digests of what
            all hosts must have in common, by setting. new_errors: since its last heartbeat. detail: `troubles`: what is
            wrong by its own account.
    """

    kind: str
    instance: int
    status: str
    uptime_s: float
    memory_mb: float
    connections: int
    pid: int
    host: str
    incarnation: str
    lease_s: float
    home_id: str = ""
    shared_facts: Mapping[str, str] = field(default_factory=dict)
    new_errors: int = 0
    last_error: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def write_heartbeat(transaction: Transaction, beat: HeartbeatRow) -> bool:
    """Write a slot's heartbeat and its metrics, and renew its lease. Returns False, and writes nothing, for a life that
    is fenced (see `fence`), or whose place another home has a lease on.
    """
    written = transaction.execute(
        "write_heartbeat",
        kind=beat.kind,
        instance=beat.instance,
        status=beat.status,
        new_errors=beat.new_errors,
        last_error=beat.last_error,
        uptime_s=beat.uptime_s,
        memory_mb=beat.memory_mb,
        connections=beat.connections,
        pid=beat.pid,
        host=beat.host,
        incarnation=beat.incarnation,
        lease_s=beat.lease_s,
        home_id=beat.home_id,
        shared_facts=json(dict(beat.shared_facts)),
        detail=json(dict(beat.detail)),
    )
    # In the heartbeat's transaction, for one commit each interval; a process without metrics writes no row.
    if written and beat.metrics:
        transaction.execute(
            "write_metrics",
            host=beat.host,
            kind=beat.kind,
            instance=beat.instance,
            metrics=json(dict(beat.metrics)),
        )
    return bool(written)


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherHome:
    """A process of another home whose lease lasts.

    Attributes:
        beat: its last sign of life. lease_left_s: how long its lease lasts. uptime_s: for how long it has lived.
        shared_facts: as in `HeartbeatRow`.
    """

    host: str
    slot: str
    beat: str
    lease_left_s: float
    uptime_s: float
    shared_facts: Mapping[str, str]


def other_homes(transaction: Transaction, home_id: str) -> list[OtherHome]:
    """Return the processes of other homes that may live."""
    return [
        OtherHome(
            host=row["host"],
            slot=row["slot"],
            beat=row["beat"],
            lease_left_s=row["lease_left_s"],
            uptime_s=row["uptime_s"],
            shared_facts=row["shared_facts"],
        )
        for row in transaction.rows("other_homes", home_id=home_id)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class SilentLife:
    """An incarnation that may be dead.

    Attributes:
        host: where it lives; empty: it has written no heartbeat, or its slot's next life has since. slot: its place
            there. beat: what changes with each sign of life. expired: its lease has run out. silent_s: seconds since
            its last sign of life.
    """

    incarnation: str
    host: str
    slot: str
    beat: str
    expired: bool
    silent_s: float


def silent_lives(transaction: Transaction, *, silent_s: float) -> list[SilentLife]:
    """Return incarnations, not fenced or with rows or leases in hand, without a sign of life for `silent_s`."""
    return [
        SilentLife(
            incarnation=row["incarnation"],
            host=row["host"],
            slot=row["slot"],
            beat=row["beat"],
            expired=row["expired"],
            silent_s=row["silent_s"],
        )
        for row in transaction.rows("silent_lives", silent_s=silent_s, **_holders(transaction))
    ]


def _holders(transaction: Transaction) -> dict[str, list[Any]]:
    """Return which incarnations hold leases of kinds that end with them alone, and since when."""
    rows = [row for kind in KINDS for name in kind.holders for row in transaction.rows(name)]
    return {"holders": [row["incarnation"] for row in rows], "since": [row["since"] for row in rows]}


def fence(transaction: Transaction, incarnation: str) -> bool:
    """Keep an incarnation whose lease has run out from ever renewing it. Returns False when it has renewed it
    meanwhile, or has no row.
    """
    return transaction.row("fence_incarnation", incarnation=incarnation) is not None


def held_on(transaction: Transaction, host: str) -> int:
    """Return how many messages the processes of a host have in hand; for chaos runs."""
    return int(transaction.one("held_on_host", host=host)["messages"])


def prune(transaction: Transaction) -> int:
    """Delete the heartbeats of slots that have been silent for a day. Returns how many."""
    return transaction.execute("prune_heartbeats")


def write_events(transaction: Transaction, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write events of the orchestrator's journal (boot_id, seq, at, event, process_name, instance, incarnation, detail)
    once.

    Rows of one boot must come in the order of their `seq`. Returns how many were new.
    """
    if not rows:
        return 0
    # The highest number of each source: the position after this batch.
    last: dict[str, int] = {}
    for row in rows:
        last[_source(row)] = max(last.get(_source(row), 0), row["seq"])
    # locked, so that a second recorder waits here, and then finds that they have been written
    positions = {row["source"]: row["seq"] for row in transaction.rows("lock_event_positions", sources=list(last))}
    unique = {(_source(row), row["seq"]): row for row in rows}
    # By position and not by a unique key: events are partitioned by day, and a key would have to hold the day.
    fresh = [row for (source, seq), row in unique.items() if seq > positions[source]]
    if fresh:
        transaction.execute("write_process_events", rows=records(fresh))
        transaction.execute("move_event_positions", sources=list(last), seqs=list(last.values()))
    return len(fresh)


def _source(row: Mapping[str, Any]) -> str:
    return f"orchestrator:{row['boot_id']}"


def proved_dead(transaction: Transaction, host: str) -> list[str]:
    """Return incarnations of a host that hold rows or leases although its orchestrator has seen their slot free."""
    return [row["incarnation"] for row in transaction.rows("proved_dead", host=host, **_holders(transaction))]


def statuses(transaction: Transaction) -> list[Row]:
    """Return every slot with its computed status."""
    return transaction.rows("process_statuses")


def latest_metrics(transaction: Transaction, kind: str) -> list[Row]:
    """Return the latest metrics of each slot of a kind."""
    return transaction.rows("latest_metrics", kind=kind)


def latest_events(transaction: Transaction, kind: str = "", *, most: int = 100) -> list[Row]:
    """Return what happened to a kind (to all when empty), newest first."""
    return transaction.rows("latest_process_events", kind=kind, most=most)


def slot_events(transaction: Transaction, *, host: str, since: datetime, types: Sequence[str], most: int) -> list[Row]:
    """Return (at, slot, type, detail) of at most `most` events of these types on a host since an instant, oldest
    first.
    """
    return transaction.rows("slot_events", host=host, since=since, types=list(types), most=most)


def metric_points(
    transaction: Transaction, *, host: str, since: datetime, steps: int, step_s: float, names: Sequence[str]
) -> list[Row]:
    """Return (process_name, instance, step, figures): the last metrics of each slot of a host in each of `steps` steps
    of `step_s` seconds from `since` on. `names`: patterns of LIKE of those that are wanted.
    """
    return transaction.rows("metric_points", host=host, since=since, steps=steps, step_s=step_s, names=list(names))


def recent_changes(transaction: Transaction, *, before: int, subjects: Sequence[str] | None, most: int) -> list[Row]:
    """Return what happened to the installation (not to messages) in events with ids below `before`, newest first;
    `subjects`: only these, None: all.
    """
    return transaction.rows(
        "recent_changes", before=before, subjects=None if subjects is None else list(subjects), most=most
    )


def cut_connections(transaction: Transaction, slot: str) -> int:
    """End every connection of a slot's processes, as a network does that breaks down; for chaos runs. Returns how
    many.
    """
    transaction.execute("leave_role")
    return transaction.execute("cut_connections", slot=slot)
