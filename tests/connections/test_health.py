"""What a look at a connection finds, shows and does about it."""

from __future__ import annotations

import time

import pytest

from tests.connections.env import AccountsEnv
from tests.sandbox.env import ACCESS_TOKEN, D360_KEY

PLACE = "/api/v2/connections/demo"
DAY_S = 86_400


def test_a_look_shows_number_token_and_webhooks(env: AccountsEnv) -> None:
    env.call("PATCH", f"{PLACE}/0", {"wabaId": "200000000000001"})
    env.control(
        "POST",
        "numbers",
        {"phone_number_id": "100000000000001", "quality_rating": "YELLOW", "messaging_limit_tier": "TIER_10K"},
    )
    result = env.done("POST", f"{PLACE}/0/test")
    assert result["healthy"] is True
    assert (
        result["number"]["qualityRating"],
        result["number"]["messagingLimitTier"],
        result["number"]["throughput"],
    ) == ("YELLOW", "TIER_10K", "STANDARD")
    assert result["number"]["displayPhoneNumber"] == "+15550783001"
    assert result["token"]["valid"] is True
    assert "whatsapp_business_messaging" in result["token"]["scopes"]
    assert result["webhooks"] == {"subscribed": True, "apps": 1}
    shown = env.connection(0)
    assert shown["facts"]["number"] == result["number"]
    assert (shown["warning"], shown["checkedAt"] is not None) == (None, True)
    assert ACCESS_TOKEN not in str(shown) + env.meta.log.read_text() + env.api.log.read_text()


def test_a_token_that_ends_soon_is_warned_of(env: AccountsEnv) -> None:
    env.control("POST", "tokens", {"expires_at": int(time.time()) + 3 * DAY_S})
    result = env.done("POST", f"{PLACE}/3/test")
    assert (result["healthy"], result["problem"]) == (False, None)
    assert "expires at" in env.connection(3)["warning"]
    assert env.connection(3)["status"] == "active"
    env.control("POST", "tokens", {"expires_at": int(time.time()) + 30 * DAY_S})
    assert env.done("POST", f"{PLACE}/3/test")["healthy"] is True
    assert env.connection(3)["warning"] is None


def test_a_dead_token_pauses_and_one_that_works_again_resumes(env: AccountsEnv) -> None:
    env.control("POST", "tokens", {"valid": False})
    result = env.done("POST", f"{PLACE}/3/test")
    assert result["problem"].startswith("190:")
    shown = env.connection(3)
    assert (shown["status"], shown["statusReason"][:4]) == ("paused", "190:")
    env.control("POST", "tokens", {"valid": True})
    assert env.done("POST", f"{PLACE}/3/test")["healthy"] is True
    assert env.connection(3)["status"] == "active"


def test_what_an_operator_paused_stays_paused_however_well_it_is(env: AccountsEnv) -> None:
    env.call("POST", f"{PLACE}/3/pause")
    assert env.done("POST", f"{PLACE}/3/test")["healthy"] is True
    assert env.connection(3)["status"] == "paused"
    assert env.call("POST", f"{PLACE}/3/resume").json()["status"] == "active"


def test_a_new_token_resumes_what_the_provider_paused(env: AccountsEnv) -> None:
    env.call("PATCH", f"{PLACE}/3", {"accessToken": "a-token-that-nobody-gave"})
    assert env.done("POST", f"{PLACE}/3/test")["problem"].startswith("190:")
    assert env.connection(3)["status"] == "paused"
    shown = env.call("PATCH", f"{PLACE}/3", {"accessToken": ACCESS_TOKEN}).json()
    assert (shown["status"], shown["statusReason"]) == ("active", None)


def test_a_queue_that_a_dead_token_holds_is_sent_after_the_new_one(env: AccountsEnv) -> None:
    env.control("POST", "tokens", {"valid": False})
    accepted = env.call("POST", "/api/v2/messages/text/demo/15550300100", {"message": "Hello", "phoneIndex": 3}).json()
    env.wait_connection(3, status="paused")
    env.control("POST", "tokens", {"valid": True})
    env.call("PATCH", f"{PLACE}/3", {"accessToken": ACCESS_TOKEN})
    env.wait_state(int(accepted["id"]), "delivered")
    assert len(env.arrived(int(accepted["id"]))) == 1


@pytest.mark.parametrize(
    ("call", "details", "status", "kind"),
    [("number", {"code": 33}, 502, "provider_refused"), ("debug_token", {"code": 2}, 502, "provider_refused")],
)
def test_a_refusal_of_the_provider_is_reported_with_its_code(
    env: AccountsEnv, call: str, details: dict[str, int], status: int, kind: str
) -> None:
    env.control("POST", "faults", {"fault": "error", "call": call, **details})
    answer = env.call("POST", f"{PLACE}/3/test")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, kind)
    assert answer.json()["providerCode"] == str(details["code"])


def test_a_provider_that_hangs_up_is_unreachable(env: AccountsEnv) -> None:
    # what only reads is asked once more on a fresh line
    env.control("POST", "faults", {"fault": "cut_before", "call": "number", "count": 2})
    answer = env.call("POST", f"{PLACE}/3/test")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (502, "provider_unreachable")


def test_a_look_at_360dialog_says_whether_its_webhooks_come_to_us(env: AccountsEnv) -> None:
    result = env.done("POST", f"{PLACE}/2/webhook")
    assert result["url"].endswith("/webhooks/360dialog/demo/2")
    result = env.done("POST", f"{PLACE}/2/test")
    assert result["healthy"] is True
    assert result["webhooks"] == {"subscribed": True, "ours": True, "guarded": True}
    env.call("PATCH", f"{PLACE}/2", {"apiKey": "another-key"})
    assert env.done("POST", f"{PLACE}/2/test")["problem"].startswith("360dialog_401:")
    assert env.connection(2)["status"] == "paused"
    assert env.call("PATCH", f"{PLACE}/2", {"apiKey": D360_KEY}).json()["status"] == "active"


def test_the_app_is_subscribed_to_a_numbers_account(env: AccountsEnv) -> None:
    # the connection may have one by an earlier test
    env.call("PATCH", f"{PLACE}/0", {"wabaId": ""})
    refused = env.call("POST", f"{PLACE}/0/webhook", headers={"Prefer": "wait=30"})
    assert refused.status_code == 422 and "no wabaId" in refused.json()["detail"]
    env.call("PATCH", f"{PLACE}/0", {"wabaId": "200000000000001"})
    assert env.done("POST", f"{PLACE}/0/webhook") == {"subscribed": True, "wabaId": "200000000000001"}
    assert env.done("POST", f"{PLACE}/0/test")["webhooks"]["subscribed"] is True


def test_the_status_of_a_360dialog_message_arrives_at_the_webhook_that_was_set(env: AccountsEnv) -> None:
    env.done("POST", f"{PLACE}/2/webhook")
    accepted = env.call("POST", "/api/v2/messages/text/demo/15550300200", {"message": "Hello", "phoneIndex": 2}).json()
    env.wait_state(int(accepted["id"]), "delivered")


def test_the_profile_is_shown_and_changed(env: AccountsEnv) -> None:
    result = env.done("PATCH", f"{PLACE}/0/profile", {"about": "We bake", "websites": ["https://example.org/"]})
    assert result["profile"] == {
        "about": "We bake",
        "websites": ["https://example.org/"],
        "vertical": "UNDEFINED",
    }
    assert env.done("GET", f"{PLACE}/0/profile") == result
