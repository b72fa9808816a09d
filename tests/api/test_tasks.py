"""What another process does for a client: the answer waits for it, and each way to fail is a problem of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.store.tasks import FAILURES
from tests.api.api_env import ApiEnv, problem
from tests.support.waiting import deadline_s, eventually

TEST = "/api/v2/connections/alpha/0/test"
PROBLEMS = {
    "invalid": (422, "task_invalid"),
    "conflict": (409, "task_conflict"),
    "refused": (502, "provider_refused"),
    "unreachable": (502, "provider_unreachable"),
    "unclear": (502, "provider_unreachable"),
    "interrupted": (503, "task_interrupted"),
    "expired": (504, "task_expired"),
    "internal": (500, "task_failed"),
}


def test_every_way_to_fail_has_its_problem() -> None:
    assert PROBLEMS.keys() == FAILURES.keys()


@pytest.mark.parametrize("code", FAILURES)
def test_a_task_that_fails_is_a_problem(api_env: ApiEnv, code: str) -> None:
    api_env.sql("DELETE FROM tasks")
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(api_env.call, "POST", TEST, headers={"Prefer": "wait=10"})
        (row,) = eventually(lambda: api_env.sql("SELECT id FROM tasks WHERE state = 'queued'"), 5, "the task is there")
        api_env.sql(
            "UPDATE tasks SET state = 'failed', problem_code = %s, problem = 'it was so', finished_at = now() WHERE "
            "id = %s",
            code,
            row["id"],
        )
        answer = answering.result(deadline_s(10))
    shown = problem(answer)
    assert (answer.status_code, shown["type"]) == PROBLEMS[code]
    assert (shown["taskId"], shown["detail"]) == (str(row["id"]), "It was so.")
    task = api_env.call("GET", f"/api/v2/tasks/alpha/{row['id']}").json()
    assert (task["status"], task["problem"]) == ("failed", {"code": code, "detail": "it was so"})


def test_a_task_that_is_not_done_in_time_has_a_place(api_env: ApiEnv) -> None:
    answer = api_env.call("POST", TEST, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert api_env.call("GET", answer.headers["Location"]).json()["id"] == answer.json()["id"]
    theirs = answer.headers["Location"].replace("/alpha/", "/beta/")
    for place in (theirs, "/api/v2/tasks/alpha/999999999", "/api/v2/tasks/alpha/x"):
        assert problem(api_env.call("GET", place))["type"] == "task_unknown"


def test_a_template_that_the_provider_would_refuse_is_refused_at_once(api_env: ApiEnv) -> None:
    assert problem(api_env.call("DELETE", "/api/v2/templates/alpha/0/No%20Name"))["type"] == "template_unknown"
    (connection,) = api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'beta'")
    api_env.sql("UPDATE phone_configs SET templates_synced_at = now(), world = 'live' WHERE id = %s", connection["id"])
    try:
        api_env.sql(
            "INSERT INTO templates (connection_id, world, name, language, status)"
            " SELECT id, world, 'refused', 'de', 'REJECTED' FROM phone_configs WHERE id = %s",
            connection["id"],
        )
        answer = api_env.call(
            "POST", "/api/v2/messages/template/beta/15550100950", json={"name": "refused", "language": "de"}
        )
        assert (answer.status_code, problem(answer)["type"], problem(answer)["templateStatus"]) == (
            422,
            "template_unusable",
            "REJECTED",
        )
    finally:
        api_env.sql("UPDATE phone_configs SET templates_synced_at = NULL WHERE id = %s", connection["id"])
