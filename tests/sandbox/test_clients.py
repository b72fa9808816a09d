"""Client libraries that talk to Meta every day talk to the sandbox: their requests are taken and its webhooks are
parsed by them.

What a stand-in and its product share, neither notices; these packages were written by others, against Meta.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from sandbox.config import META_DIRECT_ID
from sandbox.customers import MESSAGES
from tests.sandbox.env import ACCESS_TOKEN, CUSTOMER, Receiver, SandboxEnv

with warnings.catch_warnings():
    # the packages' own, while they are loaded
    warnings.simplefilter("ignore")
    import pywa
    from heyoo import WhatsApp as Heyoo
    from pymessenger.bot import Bot
    from pywa import types as seen

PAGE = "400000000000001"
TARGETED = {"reaction", "unreaction", "edit", "revoke", "number_changed"}
PARSED_BY = {
    "button": "CallbackButton",
    "button_reply": "CallbackButton",
    "list_reply": "CallbackSelection",
    "flow_reply": "FlowCompletion",
    "edit": "EditedMessage",
    "revoke": "DeletedMessage",
    "number_changed": "PhoneNumberChange",
}
"""What pywa makes of a customer's message; of all others a `Message`."""


@pytest.fixture
def client(env: SandboxEnv) -> Iterator[pywa.WhatsApp]:
    """A pywa client of the sandbox."""
    made = pywa.WhatsApp(phone_id=META_DIRECT_ID, token=ACCESS_TOKEN)
    made.api._session.base_url = f"{env.base}/graph/v23.0"
    yield made
    made.api._session.close()


def bodies(receiver: Receiver, key: str) -> list[dict[str, Any]]:
    """Return every POST's body whose first value has this key."""
    return [
        body
        for post in list(receiver.posts)
        if key in (body := json.loads(post.body))["entry"][0]["changes"][0]["value"]
    ]


def parsed(kind: type[Any], client: pywa.WhatsApp, body: dict[str, Any]) -> Any:
    return kind.from_update(client=client, update=body)


def test_pywa_sends_and_parses_every_status(env: SandboxEnv, receiver: Receiver, client: pywa.WhatsApp) -> None:
    env.control("POST", "settings", {"user_ids": 1, "batch_max": 1, "statuses": ["sent", "delivered", "read"]})
    sent = client.send_message(to=CUSTOMER, text="Hello", tracker="t-1")
    client.send_location(to=CUSTOMER, latitude=52.5, longitude=13.3, name="Here")
    client.send_message(
        to=CUSTOMER, text="Which?", buttons=[seen.Button(title="Yes", callback_data="yes")], tracker="t-2"
    )
    receiver.wait(lambda: len(bodies(receiver, "statuses")) >= 9)
    statuses = [parsed(seen.MessageStatus, client, body) for body in bodies(receiver, "statuses")]
    first = [status for status in statuses if status.id == sent.id]
    assert {str(status.status) for status in first} == {"sent", "delivered", "read"}
    assert {status.tracker for status in first} == {"t-1"}
    assert {status.from_user.wa_id for status in statuses} == {CUSTOMER.lstrip("+")}


def test_a_failed_status_has_no_contact(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"user_ids": 1, "batch_max": 1})
    env.arm("fail_later")
    env.send({"messaging_product": "whatsapp", "to": CUSTOMER, "type": "text", "text": {"body": "Hello"}})
    (body,) = receiver.wait(lambda: bodies(receiver, "statuses"))
    assert "contacts" not in body["entry"][0]["changes"][0]["value"]


@pytest.mark.parametrize("kind", sorted(MESSAGES.keys() - {"new_kind"}))  # which no client can know
def test_pywa_parses_what_customers_write(
    kind: str, env: SandboxEnv, receiver: Receiver, client: pywa.WhatsApp
) -> None:
    env.control("POST", "settings", {"user_ids": 1})
    target = client.send_message(to=CUSTOMER, text="Hello").id if kind in TARGETED else ""
    target = "15550100777" if kind == "number_changed" else target
    wish = {"phone_number_id": META_DIRECT_ID, "from": CUSTOMER, "kind": kind, "target": target}
    made = env.control("POST", "customers", {name: value for name, value in wish.items() if value})
    (body,) = receiver.wait(lambda: bodies(receiver, "messages"))
    update = parsed(getattr(seen, PARSED_BY.get(kind, "Message")), client, body)
    assert update.from_user.wa_id == CUSTOMER.lstrip("+")
    assert kind == "number_changed" or update.from_user.bsuid.startswith("US.")
    if kind in ("button", "button_reply", "list_reply", "flow_reply"):
        assert update.reply_to_message.id.startswith("wamid.")
    elif PARSED_BY.get(kind) is None:
        assert update.id == made["id"]


def test_the_older_form_has_no_user_ids(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"user_ids": 0})
    env.control("POST", "customers", {"phone_number_id": META_DIRECT_ID, "from": CUSTOMER})
    (body,) = receiver.wait(lambda: bodies(receiver, "messages"))
    value = body["entry"][0]["changes"][0]["value"]
    assert "user_id" not in value["contacts"][0]
    assert "from_user_id" not in value["messages"][0]


def test_heyoo_sends(env: SandboxEnv) -> None:
    client = Heyoo(ACCESS_TOKEN, phone_number_id=META_DIRECT_ID)
    client.url = f"{env.base}/graph/v23.0/{META_DIRECT_ID}/messages"
    answers = [
        client.send_message("Hello", CUSTOMER),
        client.send_location("52.5", "13.3", "Here", "1 Main St", CUSTOMER),
        client.send_template("hello_world", CUSTOMER, components=[], lang="en_US"),
        client.send_image("https://example.com/a.png", CUSTOMER, caption=None),
    ]
    assert all(answer["messages"][0]["id"].startswith("wamid.") for answer in answers), answers


def test_pymessenger_sends_to_me_with_its_token_in_the_query(env: SandboxEnv) -> None:
    bot = Bot(ACCESS_TOKEN)
    bot.graph_url = f"{env.base}/graph/v23.0"
    answer = bot.send_text_message("7001", "Hello")
    assert answer["recipient_id"] == "7001", answer
    (entry,) = env.ledger("accepted")
    assert (entry["phone_number_id"], entry["message"]["text"]) == (PAGE, "Hello")


def _form(env: SandboxEnv, fields: dict[str, str]) -> requests.Response:
    return env.http.post(f"{env.base}/graph/v23.0/{META_DIRECT_ID}/messages", data=fields, timeout=10)


def test_a_form_with_the_token_in_it(env: SandboxEnv) -> None:
    fields = {
        "messaging_product": "whatsapp",
        "to": CUSTOMER,
        "type": "text",
        "text": json.dumps({"body": "Hello", "preview_url": None}),
        "access_token": ACCESS_TOKEN,
    }
    assert _form(env, fields).status_code == 200
    assert _form(env, {**fields, "access_token": "wrong"}).json()["error"]["code"] == 190
    del fields["access_token"]
    assert _form(env, fields).json()["error"]["code"] == 104


def test_objects_and_lists_may_be_json_text_and_callback_data_stays_text(env: SandboxEnv) -> None:
    contacts = [{"name": {"formatted_name": "Ann Lee", "first_name": "Ann"}}]
    body = {"messaging_product": "whatsapp", "to": CUSTOMER, "type": "contacts", "contacts": json.dumps(contacts)}
    assert env.send({**body, "biz_opaque_callback_data": '{"order": 1}'}).status_code == 200
    (entry,) = env.ledger("accepted")
    assert entry["message"]["contacts"] == contacts
    assert entry["message"]["biz_opaque_callback_data"] == '{"order": 1}'
    assert env.send({**body, "contacts": "[{"}).json()["error"]["code"] == 100


def test_null_is_absent_and_component_types_may_be_in_capitals(env: SandboxEnv) -> None:
    components = [{"type": "BODY", "parameters": [{"type": "TEXT", "text": "Ann"}]}]
    body = {
        "messaging_product": "whatsapp",
        "to": CUSTOMER,
        "type": "template",
        "context": None,
        "template": {"name": "hello_world", "language": {"code": "en_US"}, "components": components},
    }
    assert env.send(body).status_code == 200


@pytest.mark.parametrize("text", ["two\nlines", "a\ttab", "five     blanks"])
def test_texts_for_templates_are_one_plain_line(text: str, env: SandboxEnv) -> None:
    components = [{"type": "body", "parameters": [{"type": "text", "text": text}]}]
    template = {"name": "hello_world", "language": {"code": "en_US"}, "components": components}
    answer = env.send({"messaging_product": "whatsapp", "to": CUSTOMER, "type": "template", "template": template})
    assert answer.json()["error"]["code"] == 132018


@pytest.mark.parametrize(
    "change",
    [
        lambda message: {**message, "context": {"message_id": "wacid.1"}},
        lambda message: {
            **message,
            "type": "reaction",
            "reaction": {"message_id": "group-1", "emoji": "👍"},
            "text": None,
        },
        lambda _: {"messaging_product": "whatsapp", "status": "read", "message_id": "wacid.1"},
    ],
    ids=["quote", "reaction", "read"],
)
def test_only_messages_can_be_named(change: Callable[[dict[str, Any]], dict[str, Any]], env: SandboxEnv) -> None:
    message = {"messaging_product": "whatsapp", "to": CUSTOMER, "type": "text", "text": {"body": "Hello"}}
    assert env.send(change(message)).json()["error"]["code"] == 131009


def test_a_number_that_whatsapp_knows_otherwise(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"wa_ids": {"5215535574468": "525535574468"}})
    message = {"messaging_product": "whatsapp", "to": "+52 1 55 3557 4468", "type": "text", "text": {"body": "Hola"}}
    assert env.send(message).json()["contacts"] == [{"input": "+52 1 55 3557 4468", "wa_id": "525535574468"}]
    (body, *_) = receiver.wait(lambda: bodies(receiver, "statuses"))
    assert body["entry"][0]["changes"][0]["value"]["statuses"][0]["recipient_id"] == "525535574468"


def test_what_clients_ask_about_accounts(env: SandboxEnv) -> None:
    assert env.get("200000000000001").json()["name"] == "Bulkhead sandbox"
    assert env.get("200000000000001/phone_numbers").json()["data"][0]["id"] == META_DIRECT_ID
    profile = env.get(f"{META_DIRECT_ID}/whatsapp_business_profile?fields=vertical").json()["data"][0]
    assert profile["vertical"] == "UNDEFINED"
    assert env.get("200000000000001/message_templates").json()["data"][0]["parameter_format"] == "POSITIONAL"
    env.control(
        "POST",
        "templates",
        {"phone_number_id": META_DIRECT_ID, "name": "hello_world", "language": "en_US", "status": "PAUSED"},
    )


def test_an_unreadable_body_for_a_page_names_its_parameter(env: SandboxEnv) -> None:
    url = f"{env.base}/graph/v23.0/{PAGE}/messages?access_token={ACCESS_TOKEN}"
    answer = env.http.post(url, data=b"[]", headers={"Content-Type": "application/json"}, timeout=10)
    assert "recipient" in answer.json()["error"]["message"]
