"""Embedded signup from the browser's code to a message that arrives; every step that fails is named, and taken up
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.connections.env import SIGNUP, AccountsEnv
from tests.meta.env import new_chat
from tests.support.database import query
from tests.support.waiting import eventually

PLACE = "/api/v2/signup/newcomer"
PIN = "314159"


@pytest.fixture
def newcomer(env: AccountsEnv) -> Iterator[AccountsEnv]:
    """A company without connections, and a number that is not registered."""
    env.call("POST", "/api/v2/companies", {"companyId": "newcomer"})
    env.control("POST", "numbers", {"phone_number_id": SIGNUP["phoneNumberId"], "fresh": True})
    yield env
    for shown in env.call("GET", "/api/v2/connections/newcomer").json()["connections"]:
        assert env.call("DELETE", f"/api/v2/connections/newcomer/{shown['phoneIndex']}?force=true").status_code == 200


def code(env: AccountsEnv) -> str:
    """Go through the dialog in a browser."""
    got: str = env.control("POST", "signup", {"phone_number_id": SIGNUP["phoneNumberId"]})["code"]
    return got


def asked(env: AccountsEnv, **more: Any) -> dict[str, Any]:
    """Ask for a signup that fails, and return the problem."""
    answer = env.call("POST", PLACE, {**SIGNUP, **more}, headers={"Prefer": "wait=30"})
    assert answer.status_code >= 400, answer.text
    problem: dict[str, Any] = answer.json()
    return problem | {"type": problem["type"].rpartition(":")[2]}


def test_a_code_becomes_a_connection_that_sends(newcomer: AccountsEnv) -> None:
    given = code(newcomer)
    result = newcomer.done("POST", PLACE, {**SIGNUP, "code": given, "pin": PIN, "businessId": "800000000000001"})
    assert result["done"] == ["exchange", "connect", "inspect", "subscribe", "register", "activate"]
    assert (result["number"]["status"], result["webhooks"]["subscribed"]) == ("CONNECTED", True)
    shown = newcomer.connection(result["phoneIndex"], "newcomer")
    assert (shown["status"], shown["connectionType"], shown["wabaId"]) == ("active", "meta_embedded", SIGNUP["wabaId"])
    everything = (
        str(query(newcomer.settings.database_url, "SELECT t.*, c.* FROM tasks t, phone_configs c"))
        + newcomer.meta.log.read_text()
    )
    assert given not in everything
    assert PIN not in everything
    chat = new_chat()
    sent = newcomer.call(
        "POST", f"/api/v2/messages/text/newcomer/{chat}", {"message": "Hello", "phoneIndex": result["phoneIndex"]}
    ).json()
    eventually(
        lambda: newcomer.call("GET", f"/api/v2/messages/newcomer/{chat}/{sent['id']}").json()["status"] == "delivered",
        15.0,
        "the first message is delivered",
    )


def test_the_same_number_again_is_the_same_connection_with_a_new_token(newcomer: AccountsEnv) -> None:
    first = newcomer.done("POST", PLACE, {**SIGNUP, "code": code(newcomer)})
    again = newcomer.done("POST", PLACE, {**SIGNUP, "code": code(newcomer)})
    assert again["phoneIndex"] == first["phoneIndex"]
    assert "registered_before" in again["done"], "a number is registered once: ten times in 72 hours are allowed"
    assert len(newcomer.call("GET", "/api/v2/connections/newcomer").json()["connections"]) == 1


@pytest.mark.parametrize(
    ("call", "step", "done"),
    [
        ("access_token", "exchange", []),
        ("debug_token", "inspect", ["exchange", "connect"]),
        ("subscribed_apps", "subscribe", ["exchange", "connect", "inspect"]),
        ("register", "register", ["exchange", "connect", "inspect", "subscribe"]),
    ],
)
def test_a_step_that_fails_is_named_and_taken_up_again_without_a_code(
    newcomer: AccountsEnv, call: str, step: str, done: list[str]
) -> None:
    given = code(newcomer)
    # until it is disarmed: once connected, the number is also looked at to prove it, by some of the same calls
    newcomer.control("POST", "faults", {"fault": "error", "call": call, "code": 131000, "count": None})
    problem = asked(newcomer, code=given, pin=PIN)
    newcomer.control("DELETE", "faults")
    assert (problem["type"], problem["step"], problem["done"], problem["providerCode"]) == (
        "provider_refused",
        step,
        done,
        "131000",
    )
    if step == "exchange":
        assert newcomer.call("GET", "/api/v2/connections/newcomer").json()["connections"] == []
        result = newcomer.done("POST", PLACE, {**SIGNUP, "code": given, "pin": PIN})
    else:
        (shown,) = newcomer.call("GET", "/api/v2/connections/newcomer").json()["connections"]
        assert shown["status"] == "paused"
        assert "signup" in shown["statusReason"]
        # the code is used up; the token that it bought is kept
        result = newcomer.done("POST", PLACE, SIGNUP)
        assert "exchange" not in result["done"]
    assert result["done"][-1] == "activate"
    assert newcomer.connection(result["phoneIndex"], "newcomer")["status"] == "active"


def test_a_code_that_is_used_or_missing(newcomer: AccountsEnv) -> None:
    assert asked(newcomer, code="AQB-nobody-gave-this")["step"] == "exchange"
    problem = asked(newcomer)
    assert (problem["type"], problem["step"]) == ("task_invalid", "exchange")


def test_a_wrong_pin_is_reported_and_the_right_one_goes_on(newcomer: AccountsEnv) -> None:
    newcomer.done("POST", PLACE, {**SIGNUP, "code": code(newcomer), "pin": PIN})
    newcomer.control("POST", "numbers", {"phone_number_id": SIGNUP["phoneNumberId"], "registered": False})
    problem = asked(newcomer, code=code(newcomer), pin="000000")
    assert (problem["step"], problem["providerCode"]) == ("register", "133005")
    (shown,) = newcomer.call("GET", "/api/v2/connections/newcomer").json()["connections"]
    index = shown["phoneIndex"]
    assert newcomer.done("POST", f"/api/v2/connections/newcomer/{index}/register", {"pin": PIN}) == {"registered": True}


def test_coexistence_is_not_registered_and_sends_slower(newcomer: AccountsEnv) -> None:
    newcomer.control("POST", "numbers", {"phone_number_id": SIGNUP["phoneNumberId"], "registered": True})
    before = len(newcomer.events("registered"))
    result = newcomer.done("POST", PLACE, {**SIGNUP, "code": code(newcomer), "coexistence": True})
    assert not {"register", "registered_before"} & set(result["done"])
    assert len(newcomer.events("registered")) == before
    assert newcomer.connection(result["phoneIndex"], "newcomer")["options"] == {"coexistence": True}


def test_a_number_belongs_to_one_company(newcomer: AccountsEnv) -> None:
    newcomer.done("POST", PLACE, {**SIGNUP, "code": code(newcomer)})
    newcomer.call("POST", "/api/v2/companies", {"companyId": "rival"})
    answer = newcomer.call("POST", "/api/v2/signup/rival", {**SIGNUP, "code": code(newcomer)})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "task_conflict")
    assert "newcomer" not in answer.text


def test_a_token_for_another_account_is_refused(newcomer: AccountsEnv) -> None:
    problem = asked(newcomer, code=code(newcomer), wabaId="200000000000001")
    assert (problem["type"], problem["step"]) == ("task_conflict", "inspect")


def test_a_killed_process_goes_on_with_the_signup(mortal_env: AccountsEnv) -> None:
    mortal_env.call("POST", "/api/v2/companies", {"companyId": "newcomer"})
    mortal_env.control("POST", "faults", {"fault": "hang", "call": "register"})
    answer = mortal_env.call(
        "POST", PLACE, {**SIGNUP, "code": code(mortal_env), "pin": PIN}, headers={"Prefer": "respond-async"}
    )
    assert answer.status_code == 202
    eventually(lambda: mortal_env.control("GET", "faults")["armed"] == [], 15.0, "it hangs at registering")
    mortal_env.meta.process.kill()
    mortal_env.meta.wait_exit()
    mortal_env.meta.start().wait_ready()

    def task() -> dict[str, Any]:
        found: dict[str, Any] = mortal_env.call("GET", answer.headers["Location"]).json()
        return found

    eventually(lambda: task()["status"] in ("done", "failed"), 30.0, "it ends")
    assert task()["status"] == "done", task()
    # the token that the code bought before the death was kept, so no code was needed
    assert task()["result"]["done"][:2] == ["connect", "inspect"]
