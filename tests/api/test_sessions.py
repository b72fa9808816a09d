"""Browser sessions as clients see them: lists, figures, events, deeds, and never more than is proved."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from shared.clock import utc_now
from shared.store import connections, sessions, tasks
from shared.store.tasks import Task
from tests.api.api_env import ApiEnv, problem
from tests.support.waiting import eventually

PLACE = "/api/v2/sessions/alpha/1"
FIGURES = {
    "pssMb": 140.5,
    "rssMb": 730.1,
    "ussMb": 85.0,
    "cpu": 0.05,
    "processes": 7,
    "ageSeconds": 12.0,
    "readyAfterSeconds": 2.1,
    "restarts": 0,
}


@pytest.fixture
def session(api_env: ApiEnv) -> int:
    """The browser session of alpha, of which nothing is known yet."""
    (row,) = api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 1")
    api_env.sql("DELETE FROM phone_status WHERE connection_id = %s", row["id"])
    api_env.sql("DELETE FROM events WHERE connection_id = %s", row["id"])
    api_env.sql("UPDATE phone_configs SET desired_state = 'linked' WHERE id = %s", row["id"])
    return int(row["id"])


def observe(api_env: ApiEnv, connection_id: int, status: str, **fields: Any) -> None:
    api_env.run(connections.observe, connection_id=connection_id, status=status, incarnation="webdriver-0.a", **fields)


def test_a_company_sees_all_its_sessions_and_no_others(api_env: ApiEnv, session: int) -> None:
    observe(api_env, session, "ready", proved_s=0.0, figures=FIGURES)
    listed = api_env.call("GET", "/api/v2/sessions/alpha")
    assert listed.headers["Cache-Control"] == "no-store"
    (one,) = listed.json()["sessions"]
    assert one == api_env.call("GET", PLACE).json()
    assert (one["phoneIndex"], one["state"], one["browser"]) == (1, "ready", FIGURES)
    assert api_env.call("GET", "/api/v2/sessions/beta").json() == {"companyId": "beta", "sessions": []}
    assert problem(api_env.call("GET", "/api/v2/sessions/nobody"))["type"] == "company_unknown"


def test_ready_is_said_only_while_it_is_proved(api_env: ApiEnv, session: int) -> None:
    observe(api_env, session, "ready", proved_s=0.0)
    assert api_env.call("GET", PLACE).json()["state"] == "ready"
    assert api_env.call("GET", "/health/all").json()["sessions"]["ready"] == 1
    api_env.sql("UPDATE phone_status SET proved_at = now() - interval '16 seconds' WHERE connection_id = %s", session)
    shown = api_env.call("GET", PLACE).json()
    assert (shown["state"], shown["detail"]) == ("degraded", "last seen as ready; not confirmed since")
    connections = api_env.call("GET", "/api/v2/connections/alpha").json()["connections"]
    assert next(one for one in connections if one["phoneIndex"] == 1)["state"] == "degraded"
    (dashboard,) = [
        one
        for one in api_env.call("GET", "/api/v2/connections").json()["connections"]
        if (one["companyId"], one["phoneIndex"]) == ("alpha", 1)
    ]
    assert dashboard["state"] == "degraded"
    everything = api_env.call("GET", "/health/all").json()
    assert everything["sessions"]["degraded"] >= 1
    assert "ready" not in everything["sessions"]
    assert "session_not_ready" in {trouble["code"] for trouble in everything["troubles"]}


def test_events_are_listed_newest_first_and_page_by_page(api_env: ApiEnv, session: int) -> None:
    for desired in ("paused", "paused", "linked"):
        assert api_env.call("POST", PLACE, json={"desired": desired}).status_code == 202
    api_env.run(
        sessions.note,
        connection_id=session,
        event="state",
        at=utc_now(),
        state="quarantined",
        detail="20 connects",
        incarnation="webdriver-0.a",
    )
    first = api_env.call("GET", f"{PLACE}/events?limit=2").json()
    assert [(one["event"], one["state"], one["detail"]) for one in first["events"]] == [
        ("state", "quarantined", "20 connects"),
        ("wanted", None, "linked"),
    ]
    assert (first["events"][0]["incarnation"], first["events"][1]["incarnation"]) == ("webdriver-0.a", None)
    second = api_env.call("GET", f"{PLACE}/events?cursor={first['next']}").json()
    assert [one["detail"] for one in second["events"]] == ["paused"]
    assert second["next"] is None
    for query in ("limit=0", "limit=201", "limit=x", "cursor=-1", "cursor=٣"):
        assert problem(api_env.call("GET", f"{PLACE}/events?{query}"))["type"] == "query_invalid"
    assert problem(api_env.call("GET", "/api/v2/sessions/alpha/0/events"))["type"] == "unsupported_operation"


def test_a_logout_is_a_wish(api_env: ApiEnv, session: int) -> None:
    answer = api_env.call("POST", f"{PLACE}/logout")
    assert (answer.status_code, answer.json()["desired"]) == (202, "logged_out")
    assert [row["detail"] for row in api_env.run(sessions.events, session, most=10)] == ["logged_out"]


@contextmanager
def browser_process(api_env: ApiEnv, answers: Mapping[str, Mapping[str, Any]]) -> Iterator[list[Task]]:
    """Carry out tasks as the process of browser sessions would: each operation has one answer."""
    taken: list[Task] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for task in api_env.run(
                tasks.take, kind="webdriver", incarnation="webdriver-0.a", operations=list(answers), most=5
            ):
                taken.append(task)
                api_env.run(tasks.finish, task_id=task.id, incarnation="webdriver-0.a", result=answers[task.operation])

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield taken
    finally:
        over.set()
        worker.join()


def test_tasks_are_done_by_the_process_that_owns_the_session(api_env: ApiEnv, session: int) -> None:
    answers: dict[str, dict[str, Any]] = {
        "restart_session": {"state": "starting"},
        "wipe_session": {"wiped": True},
        "request_pairing_code": {"code": "ABCD1234"},
    }
    with browser_process(api_env, answers) as taken:
        for path, body in (("restart", None), ("wipe", None), ("pairing-code", {"phone": "+60123456789"})):
            answer = (
                api_env.call("POST", f"{PLACE}/{path}", json=body) if body else api_env.call("POST", f"{PLACE}/{path}")
            )
            assert (answer.status_code, answer.json()["status"]) == (200, "done"), answer.text
            assert answer.json()["result"] == answers[taken[-1].operation]
    assert [task.connection_id for task in taken] == [session] * 3
    assert taken[-1].arguments == {"phone": "60123456789"}


def test_a_task_that_is_not_done_can_be_read_later(api_env: ApiEnv, session: int) -> None:
    answer = api_env.call("POST", f"{PLACE}/restart", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    with browser_process(api_env, {"restart_session": {"state": "starting"}}):
        eventually(lambda: api_env.call("GET", answer.headers["Location"]).json()["status"] == "done", 10)
    assert api_env.sql("SELECT count(*) AS n FROM tasks WHERE connection_id = %s AND state = 'queued'", session) == [
        {"n": 0}
    ]


@pytest.mark.parametrize("phone", ["", "12345", "1" * 16, "60-12", "phone", "６０１２３４５６７"])
def test_a_phone_that_is_none_is_refused(api_env: ApiEnv, session: int, phone: str) -> None:
    assert problem(api_env.call("POST", f"{PLACE}/pairing-code", json={"phone": phone}))["type"] == "body_invalid"
    assert api_env.sql("SELECT id FROM tasks WHERE connection_id = %s AND state = 'queued'", session) == []


@pytest.mark.parametrize("path", ["restart", "wipe", "logout", "pairing-code", "events", "qr"])
def test_a_connection_without_a_browser_is_refused(api_env: ApiEnv, path: str) -> None:
    method, body = ("GET", None) if path in ("events", "qr") else ("POST", {"phone": "60123456789"})
    assert (
        problem(api_env.call(method, f"/api/v2/sessions/alpha/0/{path}", json=body))["type"] == "unsupported_operation"
    )
