"""Every example of Meta's about calls: sent, taken, read, or refused for a named reason. docs/meta-examples.md is the
table that is proved here.

`python -m tests.sandbox.test_examples` writes the document.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from meta import errors
from meta.accounts.calls import ProviderCalls
from meta.errors import ErrorAction, ProviderAcceptance, Refusal
from meta.graph import GraphAnswer, GraphClient, GraphReply
from meta.sending.payloads import PayloadRefused, build
from sandbox.config import META_DIRECT_ID
from shared.messages import OutboundMessage
from tests.sandbox.env import ACCESS_TOKEN, Receiver, SandboxEnv
from tests.sandbox.examples import PATHS, Example, load
from tests.support import samples
from tests.support.environment import REPOSITORY

DOCUMENT: Final = REPOSITORY / "docs" / "meta-examples.md"
EXAMPLES: Final = load()
WABA: Final = "200000000000001"

FILLED: Final = {
    "{{Recipient-Phone-Number}}": "+15550100200",
    "{{Recipient-WA-Phone-Number}}": "+15550100200",
    "<HEADER_TYPE>": "text",
    "language-and-locale-code": "en_US",
}
"""Placeholders where only certain values are allowed; `http(s)://…` becomes an address, and ids of files become ids of
files.
"""
FILES: Final = {
    "<IMAGE_OBJECT_ID>": (samples.JPEG, "image/jpeg"),
    "<AUDIO_OBJECT_ID>": (samples.OGG, "audio/ogg"),
    "<VIDEO_OBJECT_ID>": (samples.MP4, "video/mp4"),
    "<DOCUMENT_OBJECT_ID>": (samples.PDF, "application/pdf"),
    "<MEDIA_OBJECT_ID>": (samples.WEBP, "image/webp"),
}

NOT_OURS: Final = {
    "block_users": "Bulkhead blocks no person",
    "deregister": "Bulkhead deregisters no number",
    "marketing_messages": "Bulkhead sends templates by `/messages`; the Marketing Messages API is another product",
    "message_history": "keyed by wamid, which a message in doubt does not have",
    "message_history_events": "keyed by wamid, which a message in doubt does not have",
    "settings": "calling, storage and encryption are set at Meta",
    "waba_phone_numbers": "numbers are added at Meta or by embedded signup",
}
"""Calls that Bulkhead never makes, and why."""
REFUSED: Final = {
    "POST messages request: Send Reply to List "
    "Message": "the example forgot `type`; without it a message is a text, and this one has no `text`",
    **dict.fromkeys(
        (f"POST media_upload request: Upload {name}" for name in ("Audio", "Image", "Sticker")),
        "JSON with a path on a client's disk; an upload is a form with the file in it, as `meta/sending/uploads.py` "
        "makes it",
    ),
    **dict.fromkeys(
        (
            f"POST phone_number request: {name}"
            for name in (
                "comprehensive_update",
                "configure_webhook",
                "set_username",
                "update_connection_status",
                "update_display_name",
                "update_security_settings",
            )
        ),
        "Bulkhead changes no number's own settings",
    ),
}
"""Requests that are refused although Bulkhead knows the call, and why."""


def filled(node: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: filled(value, ids) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, ids) for value in node]
    if isinstance(node, str) and "http(s)://" in node:
        return "https://example.com/file"
    return ids.get(node, FILLED.get(node, node)) if isinstance(node, str) else node


def content_of(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what a client of Bulkhead would have asked for."""
    if "status" in body:
        return "typing" if "typing_indicator" in body else "read", {"target": body["message_id"]}
    name = body.get("type", "text")
    given = body.get(name, {})
    quoted = {"quoted": body["context"]["message_id"]} if "context" in body else {}
    if name == "template":
        given = given | {"language": given["language"]["code"]}
    match name:
        case "text":
            said = {"body": given["body"]} if "body" in given else {}
            return name, said | {"preview": given.get("preview_url", False)} | quoted
        case "image" | "video" | "audio" | "document" | "sticker":
            named = {key: given[key] for key in ("id", "link") if key in given}
            return name, {"media": named} | {
                key: given[key] for key in ("caption", "filename") if key in given
            } | quoted
        case "contacts":
            return name, {"contacts": given} | quoted
        case "reaction":
            return name, {"target": given["message_id"], "emoji": given["emoji"]}
    return name, given | quoted


def built(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that Bulkhead makes of an example's content. Raises `PayloadRefused`."""
    name, content = content_of(body)
    row = OutboundMessage(
        id=1,
        company_id="demo",
        connection_id=1,
        connection_type="meta_direct",
        chat_id="15550100200",
        type=name,
        content=content,
        attempt=1,
        token="bulkhead:1:1",
        incarnation="test",
    )
    made: dict[str, Any] = json.loads(build(row))
    return made


def spelled(body: Mapping[str, Any]) -> Any:
    """Return the object of an example as Bulkhead spells the same: previews said, indexes as texts, no policy, which
    has one value.
    """
    if "status" in body:
        return body
    name = body.get("type", "text")
    given = json.loads(json.dumps(body[name]))
    if name == "text":
        return {"preview_url": False} | given
    if name == "template":
        given["language"].pop("policy", None)
        for component in given.get("components", ()):
            if "index" in component:
                component["index"] = str(component["index"])
    return given


class One(GraphClient):
    """A provider that has one answer."""

    def __init__(self, answer: GraphAnswer) -> None:
        self._answer = answer

    async def call(self, *_: Any, **__: Any) -> GraphReply:
        return self._answer


def of_answer(example: Example) -> str:
    """Return what Bulkhead makes of an example of an answer; fail when it makes nothing of it."""
    answer = GraphAnswer(example.status, json.dumps(example.value).encode(), {})
    if example.status >= 400:
        refusal = errors.read(answer)
        assert isinstance(refusal, Refusal), example.title
        assert refusal.code.isdecimal(), example.title
        words = {
            ErrorAction.DEAD: "not tried again",
            ErrorAction.RETRY: "tried again",
            ErrorAction.THROTTLE: "waited for",
            ErrorAction.PAUSE: "pauses the connection",
        }
        return f"read: code {refusal.code}, {words[refusal.rule.action]}"
    if example.call == "messages" and "success" not in example.value:
        assert isinstance(errors.read(answer), ProviderAcceptance), example.title
        return "read: taken, with its wamid"
    found = asyncio.run(ProviderCalls(One(answer)).get("this", "", {}))
    assert found == example.value, example.title
    if example.call == "media_upload":
        assert example.value["id"], example.title
        return "read: the file's id"
    return f"understood; {NOT_OURS[example.call]}" if example.call in NOT_OURS else "read: an object that says yes"


def of_request(env: SandboxEnv, example: Example, ids: Mapping[str, str]) -> str:
    """Return the outcome of an example of a request, at the sandbox and in Bulkhead; fail when the tables state
    another.
    """
    body = filled(example.value, ids)
    path = (
        PATHS[example.call]
        .replace("{Version}", "v23.0")
        .replace("{Phone-Number-ID}", META_DIRECT_ID)
        .replace("{WABA-ID}", WABA)
    )
    answer = env.http.request(
        example.method,
        f"{env.base}/graph{path}",
        json=body,
        headers={"Authorization": f"Bearer {ACCESS_TOKEN}"},
        timeout=10,
    )
    if example.call in NOT_OURS:
        assert answer.status_code == 400, example.title
        return f"refused: {NOT_OURS[example.call]}"
    if example.call != "messages":
        assert (answer.status_code == 200) is (example.title not in REFUSED), (example.title, answer.text)
        return f"refused: {REFUSED[example.title]}" if example.title in REFUSED else "taken"
    try:
        made = built(body)
    except PayloadRefused:
        assert example.title in REFUSED, example.title
        return f"refused: {REFUSED[example.title]}"
    assert example.title not in REFUSED
    assert answer.status_code == 200, (example.title, answer.text)
    assert (made if "status" in body else made[body.get("type", "text")]) == spelled(body), example.title
    assert env.send(made).status_code == 200, example.title
    return "sent: Bulkhead makes the same of it, and it is taken"


def outcomes(env: SandboxEnv) -> Iterator[tuple[Example, str]]:
    """Return each example with its outcome."""
    ids = {placeholder: env.upload(*file).json()["id"] for placeholder, file in FILES.items()}
    for example in EXAMPLES:
        yield example, of_answer(example) if example.status else of_request(env, example, ids)


def document(found: Iterable[tuple[Example, str]]) -> str:
    """Return the document."""
    lines = [
        "# Meta's examples, and the outcome of each",
        "",
        "For developers of `meta/` and `sandbox/`.",
        "",
        "The examples are those of Meta's OpenAPI document v23.0 for the calls about messages, files and numbers. "
        "Made and proved by",
        "`tests/sandbox/test_examples.py`: requests go to the sandbox over HTTP, and those of messages are built by "
        "`meta/sending/payloads.py` from the content",
        "that a client would have given; answers are read by the code that reads Meta's.",
        "",
        "| call | example | outcome |",
        "|---|---|---|",
    ]
    lines += [
        f"| {example.method} {example.call} | {f'answer {example.status}' if example.status else 'request'}: "
        f"{example.name} | {outcome} |"
        for example, outcome in found
    ]
    return "\n".join(lines) + "\n"


def test_there_are_as_many_as_in_metas_document() -> None:
    assert len(EXAMPLES) == 269
    assert len({example.title for example in EXAMPLES}) == 269
    assert {example.call for example in EXAMPLES} == set(PATHS)
    assert REFUSED.keys() <= {example.title for example in EXAMPLES}


def test_every_example_becomes_what_the_document_says(env: SandboxEnv) -> None:
    found = {example.title: outcome for example, outcome in outcomes(env)}
    rows = [
        line.strip("| ").split(" | ")
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "---" not in line
    ][1:]
    said = {
        f"{call} {shape.replace('answer ', '').split(': ', 1)[0]}: {shape.split(': ', 1)[1]}": outcome
        for call, shape, outcome in rows
    }
    assert found == said


if __name__ == "__main__":
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as home, SandboxEnv(Path(home), receiver) as opened:
        DOCUMENT.write_text(document(outcomes(opened)), encoding="utf-8")
    receiver.close()
