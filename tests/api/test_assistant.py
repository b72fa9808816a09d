"""What the assistant is asked, may call and books, over HTTP. What it answers is tested in `tests/ai`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.store import tasks
from shared.store.tasks import Task
from tests.api.api_env import ApiEnv, problem
from tests.support.waiting import eventually
from tests.tenants.making import new_key

ASK = "/api/v1/ai/process-message"
ASKED = {
    "messageId": "m1",
    "platform": "facebook",
    "senderId": "7100",
    "companyId": "alpha",
    "content": "What is your refund policy?",
    "attachments": [{"type": "image"}],
    "timestamp": 1796040000,
}
FUNCTIONS = "/api/v2/companies/alpha/functions"
FUNCTION = {
    "description": "Looks up where an order is.",
    "parameters": [{"name": "order", "required": True}],
    "url": "https://shop.example.com/order",
}
SERVICES = "/api/v2/companies/alpha/services"


def _as_ai(env: ApiEnv, end: Callable[[Task], Any]) -> threading.Thread:
    """Do the next task as kind `ai` would."""

    def work() -> None:
        def taken() -> list[Task]:
            return env.run(tasks.take, kind="ai", incarnation="ai-0.a", operations=["process_message"], most=1)

        (task,) = eventually(taken, 20, "the task is there")
        end(task)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def _nothing_asked(api_env: ApiEnv) -> None:
    # the same message is asked once, also by two tests
    api_env.sql("DELETE FROM tasks")


def test_a_question_is_a_row_that_is_waited_for(api_env: ApiEnv) -> None:
    seen: list[Task] = []

    def end(task: Task) -> None:
        seen.append(task)
        result = {
            "content": "30 days.",
            "toolCalls": [{"name": "a", "arguments": '{"b": 1}'}, {"name": "a", "arguments": "{"}],
        }
        api_env.run(tasks.finish, task_id=task.id, incarnation="ai-0.a", result=result)

    thread = _as_ai(api_env, end)
    answer = api_env.call("POST", ASK, json=ASKED)
    thread.join()
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "success": True,
            "response": {
                "content": "30 days.",
                "toolCalls": [{"name": "a", "arguments": {"b": 1}}, {"name": "a", "arguments": {"invalid": "{"}}],
            },
        },
    )
    assert seen[0].company_id == "alpha" and seen[0].arguments["content"].endswith("[1 attachments]")


@pytest.mark.parametrize(("code", "status"), [("expired", 504), ("unreachable", 502), ("internal", 500)])
def test_a_question_without_an_answer(api_env: ApiEnv, code: str, status: int) -> None:
    thread = _as_ai(
        api_env,
        lambda task: api_env.run(tasks.fail, task_id=task.id, incarnation="ai-0.a", code=code, problem="no answer"),
    )
    answer = api_env.call("POST", ASK, json=ASKED)
    thread.join()
    assert answer.status_code == status and problem(answer)["taskId"]


def test_the_same_message_is_asked_once(api_env: ApiEnv) -> None:
    def answer_with(text: str) -> Callable[[Task], Any]:
        result = {"content": text, "toolCalls": []}
        return lambda task: api_env.run(tasks.finish, task_id=task.id, incarnation="ai-0.a", result=result)

    thread = _as_ai(api_env, answer_with("30 days."))
    first = api_env.call("POST", ASK, json=ASKED)
    thread.join()
    # no one takes a task any more
    again = api_env.call("POST", ASK, json={**ASKED, "timestamp": 1796040009})
    assert again.status_code == 200 and again.json() == first.json()
    changed = api_env.call("POST", ASK, json={**ASKED, "content": "And shipping?"})
    assert changed.status_code == 409 and problem(changed)["type"].endswith("message_id_reused")
    # another sender's message may have the same id
    thread = _as_ai(api_env, answer_with("Yes."))
    assert api_env.call("POST", ASK, json={**ASKED, "senderId": "7200"}).json()["response"]["content"] == "Yes."
    thread.join()
    # one that found no answer may be asked again
    api_env.sql("UPDATE tasks SET state = 'failed', problem_code = 'unreachable'")
    thread = _as_ai(api_env, answer_with("14 days."))
    assert api_env.call("POST", ASK, json=ASKED).json()["response"]["content"] == "14 days."
    thread.join()


@pytest.mark.parametrize(
    "change", [{"platform": "fax"}, {"content": ""}, {"senderId": None}, {"companyId": 7}, {"more": 1}]
)
def test_what_is_no_question_is_refused(api_env: ApiEnv, change: dict[str, Any]) -> None:
    answer = api_env.call("POST", ASK, json={**ASKED, **change})
    assert answer.status_code == 422 and problem(answer)["errors"]


def test_a_key_asks_for_its_own_company_alone(api_env: ApiEnv) -> None:
    key = new_key(api_env, "beta", "send")["key"]
    assert api_env.call("POST", ASK, json=ASKED, key=key).status_code == 404
    assert api_env.call("POST", ASK, json={**ASKED, "companyId": "nobody"}).status_code == 404


def test_functions_are_defined_listed_and_removed(api_env: ApiEnv) -> None:
    made = api_env.call("PUT", f"{FUNCTIONS}/order_status", json=FUNCTION)
    assert made.status_code == 200, made.text
    assert made.json()["parameters"] == [{"name": "order", "required": True, "type": "string"}]
    assert made.json()["hasEffects"] is True
    changed = api_env.call("PUT", f"{FUNCTIONS}/order_status", json={**FUNCTION, "hasEffects": False})
    assert changed.json()["hasEffects"] is False
    listed = api_env.call("GET", FUNCTIONS).json()["functions"]
    assert [one["name"] for one in listed] == ["order_status"]
    assert api_env.call("DELETE", f"{FUNCTIONS}/order_status").status_code == 200
    gone = api_env.call("DELETE", f"{FUNCTIONS}/order_status")
    assert problem(gone)["type"].endswith("function_unknown")
    assert api_env.call("PUT", f"{FUNCTIONS}/9lives", json=FUNCTION).status_code == 404


def test_a_company_has_no_more_functions_and_services_than_a_model_reads(api_env: ApiEnv) -> None:
    api_env.sql(
        "INSERT INTO functions (company_id, name, description, url) "
        "SELECT 'beta', 'f' || n, 'f', 'https://example.com' FROM generate_series(1, 30) n"
    )
    api_env.sql("INSERT INTO services (company_id, name) SELECT 'beta', 's' || n FROM generate_series(1, 100) n")
    beta = "/api/v2/companies/beta"
    # one that is there already may be changed
    assert api_env.call("PUT", f"{beta}/functions/f1", json=FUNCTION).status_code == 200
    refused = api_env.call("PUT", f"{beta}/functions/another", json=FUNCTION)
    assert problem(refused)["type"].endswith("too_many_functions")
    refused = api_env.call("POST", f"{beta}/services", json={"name": "another"})
    assert problem(refused)["type"].endswith("too_many_services")


@pytest.mark.parametrize(
    "parameters",
    [
        [{"name": "a b"}],
        [{"name": "a"}, {"name": "a"}],
        [{"name": "a", "type": "integer", "choices": ["1"]}],
        [{"name": "a", "type": "date"}],
    ],
)
def test_parameters_that_no_model_could_give(api_env: ApiEnv, parameters: list[dict[str, Any]]) -> None:
    answer = api_env.call("PUT", f"{FUNCTIONS}/f", json={**FUNCTION, "parameters": parameters})
    assert answer.status_code == 422 and problem(answer)["errors"][0]["pointer"].startswith("/parameters/")


def test_services_and_their_slots(api_env: ApiEnv) -> None:
    service = api_env.call("POST", SERVICES, json={"name": "Haircut"}).json()
    assert api_env.call("POST", SERVICES, json={"name": "Haircut"}).json()["id"] == service["id"]
    times = {"startsAt": ["2100-12-24T09:00:00Z", "2100-12-24T10:30:00+01:00"], "minutes": 30}
    slots = api_env.call("POST", f"{SERVICES}/{service['id']}/slots", json=times).json()["slots"]
    assert [slot["startsAt"] for slot in slots] == ["2100-12-24T09:00:00.000Z", "2100-12-24T09:30:00.000Z"]
    assert api_env.call("POST", f"{SERVICES}/{service['id']}/slots", json=times).json()["slots"] == []
    assert api_env.call("GET", SERVICES).json()["services"][0]["freeSlots"] == 2
    assert problem(api_env.call("POST", f"{SERVICES}/999999/slots", json=times))["type"].endswith("service_unknown")
    wrong = api_env.call("POST", f"{SERVICES}/{service['id']}/slots", json={"startsAt": ["tomorrow"]})
    assert problem(wrong)["errors"][0]["pointer"] == "/startsAt/0"
    assert api_env.call("GET", "/api/v2/companies/alpha/bookings").json() == {"bookings": [], "next": None}


def test_what_the_assistant_has_cost(api_env: ApiEnv) -> None:
    path = "/api/v2/companies/alpha/model-spend"
    assert api_env.call("GET", path).json() == {"companyId": "alpha", "monthlyBudget": None, "months": []}
    api_env.sql(
        "INSERT INTO model_spend VALUES ('alpha', '2026-10-01', 2500000, 0, 7, 100, 20), "
        "('alpha', '2026-11-01', 1, 500000, 1, 3, 4), ('beta', '2026-11-01', 9, 9, 9, 9, 9)"
    )
    months = api_env.call("GET", path).json()["months"]
    assert months[0] == {
        "month": "2026-11",
        "spent": 0.000001,
        "reserved": 0.5,
        "calls": 1,
        "tokensIn": 3,
        "tokensOut": 4,
    }
    assert [(one["month"], one["spent"]) for one in months[1:]] == [("2026-10", 2.5)]
