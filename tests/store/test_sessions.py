"""What may be said of a browser session, and what happened to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.states import SessionState
from shared.store import connections, sessions
from tests.store.env import StoreEnv
from tests.support.database import query

S = SessionState


@pytest.fixture
def session(env: StoreEnv) -> int:
    """A connection with a browser session beside the one without."""
    return env.connect(phone_index=1, connection_type="wwebjs")


def observed(
    env: StoreEnv,
    connection_id: int,
    status: SessionState,
    *,
    proved_s: float | None = None,
    seen_s: float = 0.0,
    **fields: Any,
) -> Any:
    """Write an observation of so many seconds ago, and return what is shown of it."""
    env.store.run(
        connections.observe, connection_id=connection_id, status=status, incarnation="w", proved_s=proved_s, **fields
    )
    # the trigger writes the present into updated_at
    query(env.url, "ALTER TABLE phone_status DISABLE TRIGGER USER")
    query(env.url, f"UPDATE phone_status SET updated_at = now() - make_interval(secs => {seen_s})")
    query(env.url, "ALTER TABLE phone_status ENABLE TRIGGER USER")
    return env.store.run(sessions.of_company, "acme")[1]


@pytest.mark.parametrize(
    ("status", "ages", "shown"),
    [
        (S.READY, (1, 1), S.READY),
        (S.READY, (14, 1), S.READY),
        (S.READY, (16, 1), S.DEGRADED),
        (S.READY, (None, 1), S.DEGRADED),
        (S.READY, (1, 16), S.DEGRADED),
        *((state, (14, 1), state) for state in (S.NEEDS_LINK, S.SYNCING, S.OFFLINE, S.CONFLICT)),
        *((state, (16, 1), S.DEGRADED) for state in (S.NEEDS_LINK, S.SYNCING, S.OFFLINE, S.CONFLICT)),
        (S.NEEDS_LINK, (1, 16), S.DEGRADED),
        (S.STARTING, (None, 16), S.DEGRADED),
        (S.QUARANTINED, (None, 16), S.DEGRADED),
        (S.ABSENT, (None, 9999), S.ABSENT),
        (S.LOGGED_OUT, (None, 9999), S.LOGGED_OUT),
    ],
)
def test_an_outdated_proof_is_not_shown(
    env: StoreEnv, session: int, status: SessionState, ages: tuple[float | None, float], shown: SessionState
) -> None:
    row = observed(env, session, status, proved_s=ages[0], seen_s=ages[1], detail="why")
    assert row["observed"] == shown
    assert row["detail"] == (
        "why" if shown == status else f"last seen as {status.replace('_', ' ')}; not confirmed since"
    )
    assert env.store.run(connections.of_company, "acme")[1]["observed"] == shown
    assert env.store.run(connections.overview, most=10)[1]["observed"] == shown
    assert env.store.run(sessions.states) == [{"desired_state": "linked", "observed": shown, "sessions": 1}]


def test_a_proof_is_dated_by_the_servers_clock(env: StoreEnv, session: int) -> None:
    """The host's clock may be a minute off: it hands over how old the proof is, and never an instant."""
    assert observed(env, session, S.READY, proved_s=16.0)["observed"] == "degraded"
    env.store.run(connections.observe, connection_id=session, status="ready", incarnation="w", proved_s=5.0)
    (found,) = query(
        env.url,
        f"SELECT extract(epoch FROM updated_at - proved_at) AS age_s FROM phone_status WHERE connection_id = {session}",
    )
    assert float(found["age_s"]) == pytest.approx(5.0)


def test_an_observation_keeps_the_last_proof_and_replaces_the_figures(env: StoreEnv, session: int) -> None:
    first = observed(env, session, S.READY, proved_s=1, figures={"pssMb": 140.5}, qr="2@x")
    assert (first["figures"], first["qr"]) == ({"pssMb": 140.5}, "2@x")
    second = observed(env, session, S.BACKING_OFF, detail="the page said \0 nothing", figures={})
    assert (second["figures"], second["qr"], second["proved_at"]) == ({}, "", first["proved_at"])
    assert second["detail"] == "the page said � nothing"


def test_a_link_keeps_its_time_and_its_account_outlives_it(env: StoreEnv, session: int) -> None:
    """What was sent before a link began is not known to its page."""

    def since(link: str) -> Any:
        return env.store.run(sessions.linked_at, connection_id=session, link=link)

    first, second = "60111222333:5@c.us", "60111222333:6@c.us"
    assert observed(env, session, S.STARTING)["account"] == ""
    assert observed(env, session, S.READY, proved_s=0, link=first)["account"] == "60111222333"
    began_at = since(first)
    observed(env, session, S.DEGRADED)
    observed(env, session, S.READY, proved_s=0, link=first)
    assert since(first) == began_at is not None
    assert since(second) is None
    assert observed(env, session, S.LOGGED_OUT, link="")["account"] == "60111222333"
    assert (since(first), since("")) == (None, None)
    observed(env, session, S.READY, proved_s=0, link=first)
    assert since(first) > began_at, "the same device, and another link"
    observed(env, session, S.READY, proved_s=0, link=second)
    assert (since(first), since(second) > began_at) == (None, True)
    assert observed(env, session, S.READY, proved_s=0, link="49170123:1@c.us")["account"] == "49170123"


def test_what_was_accepted_for_another_account_is_not_claimed(env: StoreEnv, session: int) -> None:
    def claimed(row_id: int) -> list[int]:
        return env.claimed_ids([row_id], kind="webdriver", token_at_claim=False)

    fields: dict[str, Any] = {"connection_id": session, "process_name": "webdriver"}
    (before_any,) = env.accept("before", **fields)
    observed(env, session, S.READY, proved_s=0, link="60111222333:5@c.us")
    assert claimed(before_any) == [before_any]
    (first,) = env.accept("a", **fields)
    observed(env, session, S.LOGGED_OUT, link="")
    (unlinked,) = env.accept("b", **fields)
    # another device of the same number is the same account
    observed(env, session, S.READY, proved_s=0, link="60111222333:6@c.us")
    assert claimed(first) == [first]
    observed(env, session, S.READY, proved_s=0, link="60999888777:1@c.us")
    assert claimed(unlinked) == []
    assert env.row(unlinked)["error_code"] == "other_account"
    # the environment that is applied again names no account of a browser session
    env.connect(phone_index=1, connection_type="wwebjs")
    (last,) = env.accept("c", **fields)
    assert claimed(last) == [last]


def test_a_desired_state_is_an_event_only_when_it_changes(env: StoreEnv, session: int) -> None:
    for desired in ("linked", "paused", "paused", "logged_out"):
        assert env.store.run(sessions.want, company_id="acme", phone_index=1, desired_state=desired)
    assert not env.store.run(sessions.want, company_id="acme", phone_index=9, desired_state="paused")
    assert not env.store.run(sessions.want, company_id="globex", phone_index=1, desired_state="paused")
    found = env.store.run(sessions.events, session, most=10)
    assert [(row["event"], row["detail"]) for row in found] == [("wanted", "logged_out"), ("wanted", "paused")]
    assert env.store.run(sessions.of_company, "acme")[1]["desired_state"] == "logged_out"


def test_events_are_paged(env: StoreEnv, session: int) -> None:
    now = datetime.now(UTC)
    for days, event in ((40, "linked"), (2, "recycled"), (1, "restarted")):
        env.store.run(
            sessions.note,
            connection_id=session,
            event=event,
            at=now - timedelta(days=days),
            state="ready",
            incarnation="w",
        )
    env.store.run(sessions.note, connection_id=0, event="linked", at=now)
    newest, second = env.store.run(sessions.events, session, most=2)
    assert (newest["event"], second["event"], newest["state"]) == ("restarted", "recycled", "ready")
    (oldest,) = env.store.run(sessions.events, session, most=2, before=second["id"])
    assert oldest["event"] == "linked"
