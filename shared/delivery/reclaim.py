"""Reclaims what a dead incarnation had in flight, by its in-flight journal. The process that calls it must have proof
of the death; calling it twice changes nothing.

Proof comes from three sources: the orchestrator's proof of death (through the recorder), the next life of the slot (it
holds the lock), and, for other hosts, a lease that has run out: `reclaim_expired` fences the life first, so that it
cannot renew it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared.delivery import in_flight_journal, webhook_outages
from shared.fail_points import hit
from shared.kinds import KINDS
from shared.logs import logger
from shared.store import messages, processes, tasks, webhook_evidence
from shared.store.pool import Row, Transaction
from shared.store.webhook_evidence import SharedOutage

log = logger(__name__)

_DEATH: Final = SharedOutage(began_ago_s=0.0, ended_ago_s=0.0, is_death=True)


def reclaim(transaction: Transaction, run_dir: Path, incarnation: str, *, why: str) -> list[Row]:
    """Reclaim the rows of `incarnation`, and its tasks.

    Args:
        run_dir: where its in-flight journal is, if it lived on this host. why: the proof, for the log.
    Returns:
        (id, state, process_name, code) of each row that moved; tasks are not among them.
    """
    journal = in_flight_journal.path_of(run_dir, incarnation)
    # one that exited by itself has removed its journal
    died = journal.exists()
    try:
        found = in_flight_journal.read(journal)
    except in_flight_journal.InFlightJournalInvalid as error:
        # without it, a row that may have been written is in doubt: slower to resolve, and as safe
        log.error("in_flight_journal_invalid", dead=incarnation, reason=str(error))
        found = None
    rows = messages.reclaim(
        transaction,
        incarnation=incarnation,
        flights=[{"id": one.row_id, "stage": one.stage.name, "text": one.text} for one in found.entries.values()]
        if found
        else (),
        recorded=found is not None,
        active_row=found.active_row if found else 0,
    )
    # a POST that the process had read and not stored is repeated by the provider: until then absence proves nothing
    if died or rows:
        _record_death(transaction, run_dir, incarnation)
    if rows:
        hit("reclaim.written")
        states = [row["state"] for row in rows]
        counts = {state: states.count(state) for state in sorted(set(states))}
        log.warning(
            "messages_reclaimed", dead=incarnation, rows=len(rows), states=counts, why=why, recorded=found is not None
        )
        for row in rows:
            if row["code"] == "poison":
                log.error("message_parked_as_poison", message_id=row["id"], dead=incarnation)
    if given_back := tasks.reclaim(transaction, dead=incarnation):
        log.warning(
            "tasks_reclaimed", rows=len(given_back), queued=sum(row["state"] == "queued" for row in given_back), why=why
        )
    # each kind lists its own leases in its row, so that a new kind changes nothing here
    for statement in (name for kind in KINDS for name in kind.reclaims):
        if leases := transaction.rows(statement, incarnation=incarnation):
            log.warning("leases_reclaimed", statement=statement, rows=len(leases), dead=incarnation, why=why)
    return rows


def reclaim_expired(transaction: Transaction, run_dir: Path, life: processes.SilentLife) -> bool:
    """Reclaim what a life has in hand whose lease has run out, and fence it. Returns False, and changes nothing, when
    it has renewed its lease meanwhile.
    """
    # A life without a row of its own has no lease that it could renew.
    if life.host and not processes.fence(transaction, life.incarnation):
        return False
    reclaim(transaction, run_dir, life.incarnation, why="lease_expired")
    # What it may have refused since its last sign of life, the provider repeats, at its own pace; for every host.
    outage = SharedOutage(began_ago_s=life.silent_s, ended_ago_s=0.0, is_death=False)
    _share(transaction, life.incarnation, [outage, _DEATH], host="")
    return True


def _record_death(transaction: Transaction, run_dir: Path, incarnation: str) -> None:
    """Record the death of a process that may have had a webhook POST in hand."""
    outages = webhook_outages.path_of(run_dir, _kind_of(incarnation))
    # kinds without webhooks have no such file
    if outages.exists():
        webhook_outages.WebhookOutages(outages).record_death()
        _share(transaction, incarnation, [_DEATH], host=incarnation.partition("@")[2])


def _share(transaction: Transaction, incarnation: str, outages: Sequence[SharedOutage], *, host: str) -> None:
    """Share outages of a dead life's kind with other hosts; `host`: the one that knows by itself, empty: none does."""
    webhook_evidence.share_outages(transaction, host=host, kind=_kind_of(incarnation), outages=outages)


def _kind_of(incarnation: str) -> str:
    return incarnation.partition(".")[0].rpartition("-")[0]


def forget(run_dir: Path, incarnation: str) -> None:
    """Remove the in-flight journal of an incarnation whose rows are given back; call it after the commit."""
    in_flight_journal.path_of(run_dir, incarnation).unlink(missing_ok=True)


def leftovers(run_dir: Path, slot: str, living: str) -> list[str]:
    """Return earlier incarnations of `slot` that left an in-flight journal; the caller holds the slot as `living`, so
    they are dead."""
    suffix = ".flight"
    found = (path.name.removesuffix(suffix) for path in run_dir.glob(f"{slot}.*{suffix}"))
    return sorted(incarnation for incarnation in found if incarnation != living)
