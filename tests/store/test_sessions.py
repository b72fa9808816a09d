"""What may be said of a browser session, and what happened to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.states import SessionState
from shared.store import connections, sessions
from tests.store.rig import Ground, query

S = SessionState


@pytest.fixture
def session(ground: Ground) -> int:
    """A connection with a browser session beside the one without."""
    return ground.connect(phone_index=1, connection_type="wwebjs")


def observed(
    ground: Ground,
    connection_id: int,
    status: SessionState,
    *,
    proved_s: float | None = None,
    seen_s: float = 0.0,
    **fields: Any,
) -> Any:
    """Write an observation of so many seconds ago, and return what is shown of it."""
    proved_at = None if proved_s is None else datetime.now(UTC) - timedelta(seconds=proved_s)
    ground.store.run(
        sessions.observe, connection_id=connection_id, status=status, incarnation="w", proved_at=proved_at, **fields
    )
    # the trigger writes the present into updated_at
    query(ground.url, "ALTER TABLE phone_status DISABLE TRIGGER USER")
    query(ground.url, f"UPDATE phone_status SET updated_at = now() - make_interval(secs => {seen_s})")
    query(ground.url, "ALTER TABLE phone_status ENABLE TRIGGER USER")
    return ground.store.run(sessions.of_company, "acme")[1]


@pytest.mark.parametrize(
    ("status", "ages", "shown"),
    [
        (S.READY, (1, 1), S.READY),
        (S.READY, (14, 1), S.READY),
        (S.READY, (16, 1), S.DEGRADED),
        (S.READY, (None, 1), S.DEGRADED),
        (S.READY, (1, 16), S.DEGRADED),
        (S.NEEDS_LINK, (16, 1), S.NEEDS_LINK),
        (S.NEEDS_LINK, (1, 16), S.DEGRADED),
        (S.STARTING, (None, 16), S.DEGRADED),
        (S.QUARANTINED, (None, 16), S.DEGRADED),
        (S.ABSENT, (None, 9999), S.ABSENT),
        (S.LOGGED_OUT, (None, 9999), S.LOGGED_OUT),
    ],
)
def test_what_nobody_proves_any_more_is_not_shown(
    ground: Ground, session: int, status: SessionState, ages: tuple[float | None, float], shown: SessionState
) -> None:
    row = observed(ground, session, status, proved_s=ages[0], seen_s=ages[1], detail="why")
    assert row["observed"] == shown
    assert row["detail"] == (
        "why" if shown == status else f"was {status.replace('_', ' ')}, and nothing proves it any more"
    )
    assert ground.store.run(connections.of_company, "acme")[1]["observed"] == shown
    assert ground.store.run(connections.overview, most=10)[1]["observed"] == shown
    assert ground.store.run(sessions.states) == [{"desired_state": "linked", "observed": shown, "sessions": 1}]


@pytest.mark.parametrize("behind_s", [-40.0, 40.0, 86400.0])
def test_a_server_whose_clock_differs_dates_a_proof_by_its_own(
    ground: Ground, session: int, monkeypatch: pytest.MonkeyPatch, behind_s: float
) -> None:
    def our_clock() -> datetime:
        return datetime.now(UTC) - timedelta(seconds=behind_s)

    monkeypatch.setattr("shared.store.connections.utc_now", our_clock)
    for proved_s, shown in ((1.0, "ready"), (16.0, "degraded")):
        for observe in (sessions.observe, connections.observe):
            proved_at = our_clock() - timedelta(seconds=proved_s)
            ground.store.run(observe, connection_id=session, status="ready", incarnation="w", proved_at=proved_at)
            assert ground.store.run(sessions.of_company, "acme")[1]["observed"] == shown


def test_a_connection_of_another_kind_is_shown_as_it_is(ground: Ground) -> None:
    ground.store.run(connections.touch, [ground.connection])
    assert ground.store.run(connections.of_company, "acme")[0]["observed"] == "ready"
    assert ground.store.run(sessions.states) == []


def test_an_observation_keeps_the_last_proof_and_replaces_the_figures(ground: Ground, session: int) -> None:
    first = observed(ground, session, S.READY, proved_s=1, figures={"pssMb": 140.5}, qr="2@x")
    assert (first["figures"], first["qr"]) == ({"pssMb": 140.5}, "2@x")
    second = observed(ground, session, S.BACKING_OFF, detail="the page said \0 nothing")
    assert (second["figures"], second["qr"], second["proved_at"]) == ({}, "", first["proved_at"])
    assert second["detail"] == "the page said � nothing"


def test_a_wish_is_noted_when_it_is_news(ground: Ground, session: int) -> None:
    for desired in ("linked", "paused", "paused", "logged_out"):
        assert ground.store.run(sessions.want, company_id="acme", phone_index=1, desired_state=desired)
    assert not ground.store.run(sessions.want, company_id="acme", phone_index=9, desired_state="paused")
    assert not ground.store.run(sessions.want, company_id="globex", phone_index=1, desired_state="paused")
    found = ground.store.run(sessions.events, session, most=10)
    assert [(row["event"], row["detail"]) for row in found] == [("wanted", "logged_out"), ("wanted", "paused")]
    assert ground.store.run(sessions.of_company, "acme")[1]["desired_state"] == "logged_out"


def test_events_are_paged(ground: Ground, session: int) -> None:
    now = datetime.now(UTC)
    for days, event in ((40, "linked"), (2, "recycled"), (1, "restarted")):
        ground.store.run(
            sessions.note,
            connection_id=session,
            event=event,
            at=now - timedelta(days=days),
            state="ready",
            incarnation="w",
        )
    ground.store.run(sessions.note, connection_id=0, event="linked", at=now)
    newest, second = ground.store.run(sessions.events, session, most=2)
    assert (newest["event"], second["event"], newest["state"]) == ("restarted", "recycled", "ready")
    (oldest,) = ground.store.run(sessions.events, session, most=2, before=second["id"])
    assert oldest["event"] == "linked"
