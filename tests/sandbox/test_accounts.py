"""The sandbox's accounts: what Meta would refuse is refused, and what it keeps is kept over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.accounts import CODE_S, Accounts
from sandbox.config import SandboxConfig
from sandbox.graph_errors import GraphError
from tests.sandbox.env import ACCESS_TOKEN, APP_SECRET, SandboxEnv

APP = "300000000000001"
DIRECT, WABA, PAGE, INSTAGRAM = "100000000000001", "200000000000001", "400000000000001", "500000000000001"
PERSON = "24312345678901234"


def ask(
    env: SandboxEnv, method: str, path: str, body: Any = None, token: str = ACCESS_TOKEN, **query: str
) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(
        method, f"{env.base}/graph/v23.0/{path}", json=body, params=query, headers=headers, timeout=15
    )


def code_of(answer: requests.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def config(tmp_path: Path) -> SandboxConfig:
    """A sandbox of the test's own, not served."""
    return SandboxConfig(
        data_directory=tmp_path,
        app_secret=APP_SECRET,
        verify_token="v",
        access_tokens=(ACCESS_TOKEN,),
        d360_api_key="k",
        d360_webhook_secret="s",
        webhook_url="http://127.0.0.1:1/",
    )


def test_a_code_works_once_and_for_half_a_minute(config: SandboxConfig) -> None:
    now = [0.0]
    accounts = Accounts(config, clock=lambda: now[0])
    once, late = accounts.new_code(WABA, DIRECT), accounts.new_code(WABA, DIRECT)
    token = accounts.exchange(once)
    assert accounts.is_valid(token)
    for wrong in (once, "never"):
        with pytest.raises(GraphError):
            accounts.exchange(wrong)
    now[0] = CODE_S + 0.1
    with pytest.raises(GraphError):
        accounts.exchange(late)
    assert Accounts(config).is_valid(token), "tokens outlive the process"
    assert token not in (config.data_directory / "accounts.json").read_text()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("GET", DIRECT, None, {}), None),
        (("GET", "debug_token", None, {}), (400, 100)),
        (("GET", "oauth/access_token", None, {"client_id": "1"}), (400, 101)),
        (("GET", "oauth/access_token", None, {"client_id": APP, "client_secret": "x"}), (400, 1)),
        (("POST", f"{DIRECT}/register", {"messaging_product": "whatsapp", "pin": "12345"}, {}), (400, 100)),
        (("POST", f"{DIRECT}/register", {"messaging_product": "whatsapp"}, {}), (400, 131008)),
        (("POST", f"{DIRECT}/register", {"pin": "123456"}, {}), (400, 100)),
        (
            ("POST", f"{DIRECT}/whatsapp_business_profile", {"messaging_product": "whatsapp", "colour": "blue"}, {}),
            (400, 100),
        ),
        (("POST", f"{WABA}/message_templates", {"name": "x"}, {}), (400, 131008)),
        (
            (
                "POST",
                f"{WABA}/message_templates",
                {"name": "X", "language": "en", "category": "UTILITY", "components": [{"type": "BODY"}]},
                {},
            ),
            (400, 100),
        ),
        (("DELETE", f"{WABA}/message_templates", None, {"name": "nothing"}), (400, 100)),
        (("DELETE", f"{WABA}/message_templates", None, {}), (400, 100)),
        (("POST", f"{PAGE}/messages", {"recipient": {"id": PERSON}}, {}), (400, 100)),
        (("POST", f"{PAGE}/messages", {"recipient": {"id": PERSON}, "message": {"text": "x" * 2001}}, {}), (400, 100)),
        (
            ("POST", f"{INSTAGRAM}/messages", {"recipient": {"id": PERSON}, "message": {"text": "é" * 501}}, {}),
            (400, 100),
        ),
        (
            (
                "POST",
                f"{PAGE}/messages",
                {
                    "recipient": {"id": PERSON},
                    "message": {"text": "x"},
                    "messaging_type": "MESSAGE_TAG",
                    "tag": "ACCOUNT_UPDATE",
                },
                {},
            ),
            (400, 100),
        ),
        (
            ("POST", f"{PAGE}/messages", {"recipient": {"id": PERSON}, "message": {"text": "x"}, "colour": "blue"}, {}),
            (400, 100),
        ),
        (("POST", f"{PAGE}/messages", {"recipient": {"id": PERSON}, "message": {"text": "x"}}, {}), None),
    ],
)
def test_what_meta_would_refuse(
    env: SandboxEnv, call: tuple[str, str, Any, dict[str, str]], expected: tuple[int, int] | None
) -> None:
    method, path, body, query = call
    answer = ask(env, method, path, body, **query)
    if expected is None:
        assert answer.status_code == 200, answer.text
    else:
        assert code_of(answer) == expected, answer.text


@pytest.mark.parametrize(
    "path",
    [DIRECT, f"{WABA}/subscribed_apps", f"{WABA}/message_templates", f"{DIRECT}/whatsapp_business_profile", PAGE],
)
def test_without_a_token_nothing_is_returned(env: SandboxEnv, path: str) -> None:
    assert code_of(ask(env, "GET", path, token="")) == (401, 104)
    assert code_of(ask(env, "GET", path, token="wrong")) == (401, 190)
    assert (
        requests.get(
            f"{env.base}/graph/v3.0/{path}", headers={"Authorization": f"Bearer {ACCESS_TOKEN}"}, timeout=15
        ).json()["error"]["code"]
        == 2500
    )


def test_the_app_asks_about_tokens(env: SandboxEnv) -> None:
    answer = ask(env, "GET", "debug_token", token=f"{APP}|{APP_SECRET}", input_token=ACCESS_TOKEN).json()["data"]
    assert (answer["is_valid"], answer["app_id"]) == (True, APP)
    assert (
        ask(env, "GET", "debug_token", token=f"{APP}|{APP_SECRET}", input_token="nobody's").json()["data"]["is_valid"]
        is False
    )
    assert code_of(ask(env, "GET", "debug_token", token=f"{APP}|wrong", input_token=ACCESS_TOKEN)) == (401, 190)


def test_fields_are_those_that_were_asked_for(env: SandboxEnv) -> None:
    assert set(ask(env, "GET", DIRECT).json()) == {"id", "display_phone_number", "verified_name", "quality_rating"}
    assert set(ask(env, "GET", DIRECT, fields="status,throughput").json()) == {"id", "status", "throughput"}
