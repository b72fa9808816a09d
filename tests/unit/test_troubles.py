"""The table of troubles, and what is found in observations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.observations import (
    CompanySeen,
    ConnectionSeen,
    HookSeen,
    InboundSeen,
    Observations,
    ProcessSeen,
    TroubleReported,
    find,
)
from shared.troubles import TROUBLES, Impact, TroubleKind, made, status
from supervision.commands.command_exits import NEEDS

pytestmark = pytest.mark.fast

WELL = Observations(
    processes=[
        ProcessSeen(kind="api", instance=0, status="healthy"),
        ProcessSeen(kind="meta", instance=0, status="healthy"),
        ProcessSeen(kind="webdriver", instance=0, status="healthy"),
        ProcessSeen(kind="hooks", instance=0, status="stopped"),
    ],
    senders=["meta", "webdriver"],
    connections=[
        ConnectionSeen(company_id="a", phone_index=0, kind="meta"),
        ConnectionSeen(company_id="a", phone_index=1, kind="webdriver", observed="ready", account="15550100200"),
    ],
    free_mb=10_000.0,
)


def codes(seen: Observations) -> list[str]:
    return [one.code for one in find(seen)]


def with_processes(**states: dict[str, object]) -> Observations:
    return replace(
        WELL,
        processes=[replace(one, **states.get(one.kind, {})) for one in WELL.processes],  # type: ignore[arg-type]
    )


def connection(**facts: object) -> Observations:
    seen = {"company_id": "a", "phone_index": 1, "kind": "webdriver", "observed": "ready"} | facts
    return replace(WELL, connections=[ConnectionSeen(**seen)])  # type: ignore[arg-type]


def test_all_well_is_no_trouble() -> None:
    assert find(WELL) == []
    assert status([], "service") == "healthy"


@pytest.mark.parametrize(
    ("seen", "expected", "service"),
    [
        (replace(WELL, database="read-only"), ["database_unavailable"], "down"),
        (replace(WELL, redis="OOM"), ["redis_unavailable"], "degraded"),
        (replace(WELL, orchestrator=False), ["orchestrator_missing"], "degraded"),
        (replace(WELL, free_mb=20.0), ["disk_low"], "degraded"),
        (replace(WELL, inbound=[InboundSeen(kind="meta", waiting=3, oldest_s=500)]), ["inbound_stuck"], "degraded"),
        (replace(WELL, inbound=[InboundSeen(kind="meta", waiting=3, oldest_s=2)]), [], "healthy"),
        (replace(WELL, inbound=[InboundSeen(kind="meta", failed=2)]), ["inbound_failed"], "degraded"),
        (replace(WELL, sandbox_types=["wwebjs"]), ["sandbox_in_use"], "healthy"),
        (replace(WELL, companies=[CompanySeen(company_id="a", state="suspended")]), ["company_suspended"], "healthy"),
        (
            replace(WELL, companies=[CompanySeen(company_id="a", waiting=2, waiting_s=999.5)]),
            ["customers_waiting"],
            "healthy",
        ),
        (replace(WELL, companies=[CompanySeen(company_id="a", documents=2, documents_s=60)]), [], "healthy"),
        (
            replace(WELL, companies=[CompanySeen(company_id="a", documents=2, documents_s=1000)]),
            ["documents_stuck"],
            "degraded",
        ),
        (replace(WELL, companies=[CompanySeen(company_id="a", documents_failed=2)]), ["documents_failed"], "healthy"),
        (
            replace(WELL, reported=[TroubleReported(slot="ai-0", code="embedder_missing", values={"reason": "no"})]),
            ["embedder_missing"],
            "healthy",
        ),
        (replace(WELL, hooks=[HookSeen(hook_id=1, company_id="a", failing_s=30)]), [], "healthy"),
        (replace(WELL, hooks=[HookSeen(hook_id=1, company_id="a", failing_s=900)]), ["hook_failing"], "degraded"),
        (replace(WELL, hooks=[HookSeen(hook_id=1, company_id="a", state="disabled")]), ["hook_disabled"], "degraded"),
        (with_processes(meta={"status": "down", "state": "backoff"}), ["kind_down", "process_not_ready"], "degraded"),
        (
            with_processes(meta={"status": "down", "state": "quarantined", "reason": "20 restarts"}),
            ["kind_down", "process_quarantined"],
            "degraded",
        ),
        (
            with_processes(meta={"status": "down", "state": "misconfigured"}),
            ["kind_down", "process_misconfigured"],
            "degraded",
        ),
        (
            with_processes(meta={"status": "degraded", "silent_s": 45.0, "reason": "no heartbeat for 45 s"}),
            ["kind_down", "process_silent"],
            "degraded",
        ),
        (with_processes(meta={"memory_mb": 960.0, "limit_mb": 1024.0}), ["memory_high"], "healthy"),
        (
            with_processes(
                meta={"status": "down", "state": "backoff"}, webdriver={"status": "down", "state": "backoff"}
            ),
            ["no_sender", "kind_down", "kind_down", "process_not_ready", "process_not_ready"],
            "down",
        ),
        (with_processes(meta={"status": "stopped"}, webdriver={"status": "stopped"}), ["no_sender"], "down"),
        (connection(is_paused=True, due=5, oldest_due_s=900.0), ["connection_paused"], "degraded"),
        (connection(warning="quality is RED"), ["connection_warning"], "healthy"),
        (connection(observed="needs_link"), ["session_needs_link"], "healthy"),
        (connection(observed="needs_link", account="15550100200"), ["session_link_lost"], "degraded"),
        (connection(observed="logged_out"), ["session_link_lost"], "degraded"),
        (connection(observed="logged_out", desired="logged_out"), [], "healthy"),
        (connection(observed="conflict"), ["session_conflict"], "degraded"),
        (connection(observed="offline"), ["session_offline"], "degraded"),
        (connection(observed="quarantined"), ["session_quarantined"], "degraded"),
        (connection(observed="backing_off"), ["session_not_ready"], "degraded"),
        (connection(due=5, oldest_due_s=900.0), ["queue_stuck"], "degraded"),
        (connection(due=5, oldest_due_s=9.0), [], "healthy"),
        (connection(held=1), ["messages_held"], "degraded"),
        (connection(dead=60), ["dead_letters"], "degraded"),
        (connection(dead=1), ["dead_letters_few"], "healthy"),
    ],
)
def test_each_observation_is_named(seen: Observations, expected: list[str], service: str) -> None:
    found = find(seen)
    assert [one.code for one in found] == expected
    assert status(found, "service") == service
    for one in found:
        assert one.sentence.endswith(".")
        assert one.mend.endswith(".")
        assert "{" not in one.sentence + one.mend, "every value is filled in"
        assert (one.company_id is None) == (one.about in ("service", "process"))


def test_a_trouble_of_a_part_is_down_for_the_part_alone() -> None:
    found = find(connection(observed="logged_out"))
    assert status(found, "connection") == "down"
    assert status(found, "company") == status(found, "service") == "degraded"


def test_the_worst_comes_first() -> None:
    seen = replace(connection(held=3, dead=1, observed="logged_out"), redis="away", database="away")
    impacts = [one.impact for one in find(seen)]
    assert impacts == sorted(impacts, key=tuple(Impact).index)
    assert codes(seen)[0] == "database_unavailable"


@pytest.mark.parametrize("row", TROUBLES, ids=lambda row: row.code)
def test_a_mend_names_commands_that_exist(row: TroubleKind) -> None:
    values: dict[str, Any] = dict.fromkeys(row.names, "1")
    mend = made(row.code, **values).mend
    for word in mend.split("`bulkhead ")[1:]:
        assert word.split("`")[0].split()[0] in NEEDS, word


def test_codes_are_unique() -> None:
    assert len({row.code for row in TROUBLES}) == len(TROUBLES)
