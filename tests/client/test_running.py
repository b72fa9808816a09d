"""Both clients against a running installation: everything that a developer does with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from bulkhead_client import (
    AsyncBulkhead,
    File,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    Unauthorized,
    WebhookRejected,
    verify,
)
from shared.kinds import admin_port
from tests.client.installation import Application, Installation
from tests.support import samples

pytestmark = pytest.mark.xdist_group("client")


def test_what_a_developer_sends_arrives(installation: Installation, application: Application) -> None:
    client, chat = installation.client, "15550101001"
    sent = client.send_text(chat, "Hello", wait_s=30)
    assert sent["status"] in ("sent", "delivered", "read")
    assert (
        client.send_image(chat, f"{application.url}/picture.png", caption="by address", wait_s=30)["status"] != "failed"
    )
    stored = client.upload(File(content=samples.png(b"client"), name="dot.png"))
    assert stored["mimetype"] == "image/png"
    assert client.download(stored["sha256"]) == samples.png(b"client")
    client.send_image(chat, stored, caption="uploaded", wait_s=30)
    client.send_document(chat, File(content=samples.PDF, name="Rechnung ü.pdf"), wait_s=30)
    client.send_location(chat, 52.5163, 13.3777, name="Brandenburg Gate", wait_s=30)
    client.react(chat, sent["id"], "👍", wait_s=30)
    assert [message["type"] for message in installation.ledger(chat)] == [
        "text",
        "image",
        "image",
        "document",
        "location",
        "reaction",
    ]
    assert installation.ledger(chat)[3]["document"]["filename"] == "Rechnung ü.pdf"
    listed = list(client.messages(chat, limit=2))
    assert [entry["type"] for entry in listed] == ["reaction", "location", "document", "image", "image", "text"]
    assert client.message(chat, sent["id"])["history"][0]["state"] == "queued"
    assert installation.wait_for(lambda: [one for one in client.chats() if one["chatId"] == chat], "the chat is listed")
    found = installation.wait_for(lambda: list(client.search(q="Hello", chatId=chat)), "the text is found")
    assert [entry["id"] for entry in found] == [sent["id"]]
    assert client.analytics()["total"]["accepted"] >= 1


def test_the_same_key_is_one_message(installation: Installation) -> None:
    chat = "15550101002"
    first, second = (installation.client.send_text(chat, "once", idempotency_key="once-1") for _ in range(2))
    assert first["id"] == second["id"]


def test_a_queued_message_is_cancelled(installation: Installation) -> None:
    chat = "15550101003"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    queued = installation.client.send_text(chat, "later", sendAt=tomorrow)
    assert installation.client.delete(chat, queued["id"])["status"] == "deleted"


def test_refusals_are_errors_of_their_kind(installation: Installation) -> None:
    client, chat = installation.client, "15550101004"
    with pytest.raises(Invalid) as raised:
        client.send(chat, "location", latitude=99, longitude=0)
    assert raised.value.errors == [{"pointer": "/latitude", "reason": "must be from -90 to 90"}]
    with pytest.raises(NotFound, match="message_unknown"):
        client.message(chat, "999999")
    with type(client)(installation.url, "bh_live_wrong", company="demo") as stranger, pytest.raises(Unauthorized):
        stranger.connections()


def test_events_are_read_waited_for_and_followed(installation: Installation) -> None:
    client, chat = installation.client, "15550101005"
    start = client.event_page("latest")["next"]
    sent = client.send_text(chat, "followed", wait_s=30)
    page = client.event_page(start, types=["message.sent"], wait_s=30)
    assert sent["id"] in [event["data"]["messageId"] for event in page["events"]]
    # other tests' messages may be reported meanwhile
    of_it = (one for one in client.events(start, types=["message.*"]) if one["data"]["messageId"] == sent["id"])
    assert next(of_it)["type"] == "message.sent"
    followed = client.follow(start, types=["message.sent"])
    assert next(followed)["type"] == "message.sent"
    followed.close()  # type: ignore[attr-defined] # an iterator that is a generator


def test_an_answer_of_a_customer_is_delivered_and_verified(
    installation: Installation, application: Application
) -> None:
    client, chat = installation.client, "15550101006"
    hook = client.add_hook(f"{application.url}/hook", ["message.received"])
    try:
        installation.customer_writes(chat, "Where is my parcel?")

        def delivered() -> Any:
            return [one for one in application.got if chat.encode() in one.body]

        (delivery,) = installation.wait_for(delivered, "the text is delivered", 60.0)
        event = verify(delivery.headers, delivery.body, hook["secret"])
        assert event["data"]["message"]["message"] == "Where is my parcel?"
        with pytest.raises(WebhookRejected):
            verify(delivery.headers, delivery.body + b" ", hook["secret"])
        installation.wait_for(lambda: list(client.hook_deliveries(hook["id"], outcome="taken")), "the log has it")
        rotated = client.rotate_hook_secret(hook["id"])
        assert rotated["secret"] != hook["secret"]
        assert client.change_hook(hook["id"], state="paused")["state"] == "paused"
        assert hook["id"] in [one["id"] for one in client.hooks()]
    finally:
        client.remove_hook(hook["id"])


def test_what_comes_in_while_the_company_is_suspended_is_kept_and_delivered_later(
    installation: Installation, application: Application
) -> None:
    program, chat = installation.program, "15550101008"
    hook = installation.client.add_hook(f"{application.url}/hook", ["message.received"])
    number = installation.client.connections()["connections"][0]["accountId"]
    in_chat = f"/api/v2/messages/demo/{chat}"
    feed = f"/api/v2/events/demo?types=message.received&after={installation.client.event_page('latest')['next']}"

    def delivered() -> list[Any]:
        return [one for one in application.got if chat.encode() in one.body]

    installation.wait_for(lambda: served(installation), "its webhook is served")
    try:
        assert program.api("POST", "/api/v2/companies/demo/suspend", json={"reason": "unpaid"}).status_code == 200
        installation.wait_for(lambda: refused(installation), "its key is refused", 5.0)
        installation.wait_for(lambda: not served(installation), "its webhook is not served", 5.0)
        refusal = program.api("POST", f"/api/v2/messages/text/demo/{chat}", json={"message": "no", "phoneIndex": 0})
        assert refusal.json()["type"].endswith(":company_suspended"), "with any key"
        wish = {"phone_number_id": number, "from": chat, "kind": "text", "text": "Are you there?"}
        program.sandbox("POST", "/control/customers", json=wish).raise_for_status()
        kept = installation.wait_for(lambda: program.api("GET", in_chat).json()["messages"], "the text is kept")
        assert [one["message"] for one in kept] == ["Are you there?"]
        events = installation.wait_for(lambda: program.api("GET", feed).json()["events"], "its event is in the feed")
        assert [event["data"]["messageId"] for event in events] == [kept[0]["id"]]
        assert delivered() == []
    finally:
        assert program.api("POST", "/api/v2/companies/demo/resume").status_code == 200
    installation.wait_for(lambda: not refused(installation), "its key works again", 5.0)
    (delivery,) = installation.wait_for(delivered, "the text is delivered after all", 60.0)
    assert verify(delivery.headers, delivery.body, hook["secret"])["data"]["message"]["message"] == "Are you there?"
    installation.client.remove_hook(hook["id"])


def test_contacts_and_the_company_are_typed(installation: Installation) -> None:
    client = installation.client
    task = client.import_contacts(b"phone,name,tags\n15550102001,Ada,vip\n15550102002,Bob,\nnonsense,,\n")
    done = client.wait_for_task(task["id"])
    assert (done["status"], done["result"] and done["result"]["created"]) == ("done", 2)
    assert [error["line"] for error in (done["result"] or {})["errors"]] == [4]
    (ada,) = client.contacts(tag="vip")
    assert (ada["name"], client.contact("15550102001")["id"]) == ("Ada", ada["id"])
    changed = client.change_contact(ada["id"], name="Ada Lovelace", custom_fields={"number": 4711})
    assert (changed["name"], changed["tags"], changed["customFields"]) == ("Ada Lovelace", ["vip"], {"number": 4711})
    merged = client.merge_contacts(ada["id"], "15550102002")
    assert merged["phones"] == ["15550102001", "15550102002"]
    other = client.split_contact(ada["id"], merge_id=merged["merges"][0]["mergeId"])
    assert (other["name"], other["phones"]) == ("Bob", ["15550102002"])
    assert b"Ada Lovelace" in client.export_contacts()
    company = client.read_company()
    named = client.change_company(version=company["version"], settings={"brandName": "Acme"})
    assert named["settings"]["brandName"] == "Acme"
    with pytest.raises(Problem, match="version_outdated"):
        client.change_company(version=company["version"], name="too late")
    assert client.change_company(settings={"brandName": None})["settings"]["brandName"] != "Acme"


def test_documents_are_typed(installation: Installation) -> None:
    client = installation.client
    made = client.upload_document(File(content=b"# Pets\n\nDogs are welcome for 15 EUR a night.", name="house.md"))
    done = client.wait_for_document(made["id"])
    assert (done["status"], done["title"], done["chunks"]) == ("indexed", "house.md", 1)
    found = client.search_documents("can I bring my dog", most=1)
    assert [one["source"] for one in found["results"]] == ["house.md, Pets"], found
    assert [one["id"] for one in client.documents()] == [made["id"]]
    assert client.reindex_document(made["id"])["id"] == made["id"]
    assert client.remove_document(made["id"])["id"] == made["id"]
    with pytest.raises(NotFound):
        client.document(made["id"])


def test_conversations_are_typed(installation: Installation) -> None:
    client, chat = installation.client, "15550101009"
    client.change_company(settings={"enableHumanHandoff": True})
    try:
        installation.customer_writes(chat, "Is anybody there?")
        (one,) = installation.wait_for(lambda: list(client.conversations(state="waiting", chat=chat)), "it waits")
        assert (one["reason"], one["waitingS"] is not None) == ("no_assistant", True)
        sent = client.reply_in_conversation(one["id"], "I am Grace.", wait_s=30)
        assert sent["chatId"] == chat
        whole = client.conversation(one["id"])
        assert (whole["state"], [line["message"] for line in whole["messages"]]) == (
            "human", ["I am Grace.", "Is anybody there?"])  # fmt: skip
        assert client.assign_conversation(one["id"], "Grace")["assignee"] == "Grace"
        assert [entry["id"] for entry in client.conversations(assignee="Grace")] == [one["id"]]
        assert client.assign_conversation(one["id"], None)["state"] == "waiting"
        with pytest.raises(Problem, match="conversation_refused"):
            client.hand_back_conversation(one["id"])
        assert client.close_conversation(one["id"])["state"] == "closed"
    finally:
        client.change_company(settings={"enableHumanHandoff": None})


def served(installation: Installation) -> int:
    """Return how many webhooks are delivered to."""
    settings = installation.program.settings
    port = admin_port(settings.admin_port, settings.kind("hooks"), 0)
    try:
        health = requests.get(f"http://127.0.0.1:{port}/health", timeout=5).json()
    # it does not run when nothing is to be delivered to
    except requests.ConnectionError:
        return 0
    subscribers: int = health["subscribers"]
    return subscribers


def refused(installation: Installation) -> bool:
    """Whether the company's key is refused because the company is suspended."""
    try:
        installation.client.connections()
    except Forbidden as error:
        return error.type == "company_suspended"
    return False


def _asynchronously(installation: Installation, do: Callable[[AsyncBulkhead], Awaitable[None]]) -> None:
    async def run() -> None:
        async with AsyncBulkhead(installation.url, installation.key, company="demo") as client:
            await do(client)

    asyncio.run(run())


def test_the_asynchronous_client_does_the_same(installation: Installation) -> None:
    chat = "15550101007"

    async def do(client: AsyncBulkhead) -> None:
        start = (await client.event_page("latest"))["next"]
        sent = await asyncio.gather(*(client.send_text(chat, f"Hello {number}", wait_s=30) for number in range(3)))
        stored = await client.upload(File(content=samples.png(b"async")))
        await client.send_image(chat, stored, wait_s=30)
        assert len([entry async for entry in client.messages(chat, limit=3)]) == 4
        with pytest.raises(NotFound):
            await client.message(chat, "999999")
        seen = set()
        async for event in client.follow(start, types=["message.sent"]):
            seen.add(event["data"]["messageId"])
            if {one["id"] for one in sent} <= seen:
                break

    _asynchronously(installation, do)
