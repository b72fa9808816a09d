"""The examples run as they stand, against the shared installation."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from bulkhead_client.webhooks import sign
from tests.client.installation import COMPANY, Application, Installation
from tests.client.test_generated import NODE, PACKAGES
from tests.support import environment, samples
from tests.support.waiting import deadline_s

pytestmark = pytest.mark.xdist_group("client")

EXAMPLES = environment.REPOSITORY / "examples"


def variables(installation: Installation) -> dict[str, str]:
    """Return what an example reads; port 0: any that is free."""
    given = {"BULKHEAD_URL": installation.url, "BULKHEAD_KEY": installation.key, "BULKHEAD_COMPANY": COMPANY}
    return {**os.environ, **given, "PORT": "0", "PYTHONPATH": str(environment.REPOSITORY)}


@contextmanager
def running(installation: Installation, *words: object) -> Iterator[str]:
    """Run a bot until the block ends, and give the id of its webhook; it then ends by itself, and its webhook is
    gone.
    """
    with subprocess.Popen(
        [str(word) for word in words], env=variables(installation), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("answering; webhook "), line
            yield line.split()[-1]
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(deadline_s(20))
    assert code == 0
    assert line.split()[-1] not in [hook["id"] for hook in installation.client.hooks()]


@pytest.mark.parametrize(
    ("program", "chat"),
    [
        ((sys.executable, EXAMPLES / "answering_bot.py"), "15550103001"),
        ((NODE, EXAMPLES / "answering_bot.mjs"), "15550103002"),
    ],
    ids=["python", "javascript"],
)
def test_a_bot_answers_each_text_once(installation: Installation, program: tuple[object, ...], chat: str) -> None:
    with running(installation, *program):
        installation.customer_writes(chat, "Is it open?")
        replies = installation.wait_for(lambda: installation.ledger(chat), "the bot replies", 60.0)
    assert [reply["text"]["body"] for reply in replies] == ["You wrote: Is it open?"]


def test_an_express_application_takes_what_bulkhead_signs_and_nothing_else(
    installation: Installation, tmp_path: Path
) -> None:
    """Copied to a folder of its own with its packages, as a developer has it."""
    for name in ("bulkhead.mjs", "express_app.mjs"):
        shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    chat = "15550103005"
    with running(installation, NODE, tmp_path / "express_app.mjs") as hook_id:
        (url,) = (hook["url"] for hook in installation.client.hooks() if hook["id"] == hook_id)
        for headers, body in forged(chat):
            refused = requests.post(url, data=body, headers=headers, timeout=30)
            assert (refused.status_code, refused.headers["X-Powered-By"]) == (400, "Express"), refused.text
        installation.customer_writes(chat, "Is it open?")
        replies = installation.wait_for(lambda: installation.ledger(chat), "the application replies", 60.0)
        # whatever was forged came before
        assert [reply["text"]["body"] for reply in replies] == ["You wrote: Is it open?"]
        assert requests.get(url.removesuffix("hook"), timeout=30).status_code == 200


def forged(chat: str) -> Iterator[tuple[Mapping[str, str], bytes]]:
    """Yield deliveries that Bulkhead did not send."""
    message = {"type": "text", "message": "forged", "chatId": chat, "phoneIndex": 0}
    body = json.dumps({"id": "1-1", "type": "message.received", "data": {"message": message}}).encode()
    stranger = "whsec_" + base64.b64encode(b"x" * 32).decode()
    now = int(time.time())
    named = {"Content-Type": "application/json", "webhook-id": "1-1", "webhook-timestamp": str(now)}
    yield {**named, "webhook-signature": sign(stranger, "1-1", now, body)}, body
    yield {**named, "webhook-signature": "v1,"}, body
    yield named, body
    yield {"Content-Type": "application/json"}, body
    yield {"webhook-id": "1-1"}, b""


def test_the_commands_with_curl(installation: Installation, application: Application, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(samples.png(b"curl"))
    chat = "15550103003"
    words = [str(EXAMPLES / "first_messages.sh"), chat, str(picture), f"{application.url}/picture.png"]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            words, env=variables(installation), capture_output=True, text=True, check=False, timeout=90
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append([json.loads(line) for line in done.stdout.splitlines() if line])
    (text, *_, listed, events), (again, *_) = outputs
    assert text["id"] == again["id"], "the same key is one message"
    assert [message["type"] for message in listed["messages"]] == ["image", "image", "text"]
    assert {event["type"] for event in events["events"]} == {"message.sent"}
    assert [message["type"] for message in installation.ledger(chat)].count("text") == 1


def workflow() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((EXAMPLES / "n8n_order_messages.json").read_text(encoding="utf-8"))
    return read


def test_the_workflow_of_n8n_is_whole() -> None:
    nodes = workflow()["nodes"]
    for node in nodes:
        assert {"id", "name", "type", "typeVersion", "position", "parameters"} <= node.keys()
        assert re.fullmatch(r"n8n-nodes-base\.\w+", node["type"])
    names = [node["name"] for node in nodes]
    assert len(set(names)) == len({node["id"] for node in nodes}) == len(nodes)
    for name, outputs in workflow()["connections"].items():
        assert name in names
        targets = [target["node"] for branch in outputs["main"] for target in branch]
        assert set(targets) <= set(names)
    reached = {target["node"] for outputs in workflow()["connections"].values() for target in outputs["main"][0]}
    triggers = {node["name"] for node in nodes if re.search(r"\.webhook$|Trigger$", node["type"])}
    assert reached | triggers == set(names), "every node is reached"


def filled_in(value: str, values: Mapping[str, str]) -> str:
    """Return a parameter with its expressions (`={{ … }}`) replaced."""
    return re.sub(r"\{\{ ([^}]+) \}\}", lambda found: values[found[1]], value[1:]) if value.startswith("=") else value


def requested(node: Mapping[str, Any], values: Mapping[str, str]) -> requests.Response:
    """Make the request of a node as n8n makes it."""
    given = node["parameters"]

    def named(parameters: str) -> dict[str, str]:
        return {one["name"]: filled_in(one["value"], values) for one in given.get(parameters, {}).get("parameters", ())}

    body = json.loads(filled_in(given["jsonBody"], values)) if given.get("sendBody") else None
    url, headers, query = filled_in(given["url"], values), named("headerParameters"), named("queryParameters")
    return requests.request(given["method"], url, headers=headers, params=query, json=body, timeout=60)


def test_the_requests_of_the_workflow_do_what_they_say(installation: Installation) -> None:
    chat = "15550103004"
    values = {
        "$vars.BULKHEAD_URL": installation.url,
        "$vars.BULKHEAD_KEY": installation.key,
        "$vars.BULKHEAD_COMPANY": COMPANY,
        "$vars.WATCHED_CHAT": chat,
        "$json.body.phone": chat,
        "$json.body.order": "1001",
    }
    by_name = {node["name"]: node for node in workflow()["nodes"]}
    sent = [requested(by_name["Send text"], values) for _ in range(2)]
    assert [answer.status_code for answer in sent] == [200, 200], sent[0].text
    assert sent[0].json()["id"] == sent[1].json()["id"]
    assert sent[1].headers["Idempotency-Replayed"] == "true"
    listed = requested(by_name["Read chat"], values).json()["messages"]
    assert [message["message"] for message in listed] == ["Your order 1001 is on its way."]
