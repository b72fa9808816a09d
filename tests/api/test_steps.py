"""The history that clients see: one clock, no step twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from api.messages.steps import shown_steps

START = datetime(2026, 11, 30, 12, 0, 0, 700_000, tzinfo=UTC)
STATUS = {"status": "sent"}


def step(state: str, after_s: float, *, attempt: int = 1, at: datetime | None = None, **more: Any) -> dict[str, Any]:
    written_at = START + timedelta(seconds=after_s)
    empty = {"incarnation": "", "code": "", "detail": "", "extra": None}
    return {**empty, "state": state, "attempt": attempt, "at": at or written_at, "written_at": written_at, **more}


def test_a_status_confirms_the_step_that_the_sender_recorded() -> None:
    provider = START.replace(microsecond=0)
    shown = shown_steps(
        [
            step("queued", 0.0, attempt=0),
            step("sending", 0.1),
            step("sent", 0.2),
            step("sent", 0.3, at=provider, extra=STATUS),
            step("delivered", 0.4, at=provider, extra={"status": "delivered"}),
        ]
    )
    assert [one["state"] for one in shown] == ["queued", "sending", "sent", "delivered"]
    assert shown[2]["extra"] == STATUS
    assert shown[2]["providerAt"] == "2026-11-30T12:00:00.000Z"
    instants = [one["at"] for one in shown]
    assert instants == sorted(instants)
    assert instants[3] == "2026-11-30T12:00:01.100Z", "our clock, not the provider's earlier second"


def test_statuses_of_another_attempt_and_further_statuses_are_steps_of_their_own() -> None:
    shown = shown_steps(
        [
            step("sent", 0.2),
            step("sent", 0.3, extra=STATUS),
            step("sent", 0.9, attempt=2),
            step("read", 1.0, attempt=2, extra={"status": "read"}),
            step("read", 1.1, attempt=2, extra={"status": "played"}),
        ]
    )
    assert [(one["state"], one["attempt"]) for one in shown] == [("sent", 1), ("sent", 2), ("read", 2), ("read", 2)]
    assert shown[1]["extra"] is None


def test_a_claim_whose_transaction_began_before_the_acceptance_does_not_run_backwards() -> None:
    shown = shown_steps([step("queued", 0.2, attempt=0), step("sending", 0.1)])
    assert shown[1]["at"] == shown[0]["at"]
