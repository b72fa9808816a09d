"""Files and marks through the real processes, also over a death in the middle of an upload. The ledger judges."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from shared.media.storage import open_storage
from shared.store import media, messages
from shared.store.messages import NewMessage
from tests.meta.env import KIND, MetaEnv, new_chat
from tests.meta.seed import COMPANY, DIRECT
from tests.support import samples
from tests.support.waiting import eventually


def keep(env: MetaEnv, content: bytes, mimetype: str) -> dict[str, Any]:
    """Put a file into the env's storage as the API does. Returns what stands for it in a message."""

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    stored = asyncio.run(open_storage(env.settings).put(COMPANY, pieces(), most=1_000_000))
    env.store.run(media.remember, COMPANY, stored.sha256, size=stored.size, mimetype=mimetype)
    return {"sha256": stored.sha256, "size": stored.size, "mimetype": mimetype}


def send(env: MetaEnv, chat: str, *rows: tuple[str, Mapping[str, Any]]) -> list[int]:
    """Accept rows of any type in one chat and hint them. Returns their ids."""
    new = [
        NewMessage(
            company_id=COMPANY,
            connection_id=env.ids[DIRECT],
            process_name=KIND.name,
            chat_id=chat,
            type=type_name,
            content=content,
        )
        for type_name, content in rows
    ]
    ids = [accepted.id for accepted in env.store.run(messages.accept, new)]
    env.hints.give(KIND, ids)
    return ids


def events(env: MetaEnv, event: str) -> list[dict[str, Any]]:
    """Return the ledger's entries of one event since the test began."""
    found: list[dict[str, Any]] = env.control("GET", "ledger", since=env.since, event=event)["entries"]
    return found


def test_a_chat_of_files_and_marks_arrives_in_its_order(env: MetaEnv) -> None:
    picture = keep(env, samples.png(b"in order"), "image/png")
    chat = new_chat()
    rows = send(
        env,
        chat,
        ("typing", {"target": "wamid.IN"}),
        ("image", {"media": picture, "caption": "Look"}),
        ("read", {"target": "wamid.IN"}),
        ("text", {"body": "Do you like it?"}),
    )
    for row, state in zip(rows, ("sent", "delivered", "sent", "delivered"), strict=True):
        env.wait_state(row, state)
    marks, taken = events(env, "read_by_business"), events(env, "accepted")
    assert [(entry["message_id"], entry["typing"]) for entry in marks] == [("wamid.IN", True), ("wamid.IN", False)]
    assert [entry["type"] for entry in taken] == ["image", "text"]
    assert marks[0]["seq"] < taken[0]["seq"] < marks[1]["seq"] < taken[1]["seq"]
    (uploaded,) = events(env, "media_uploaded")
    assert uploaded["sha256"] == hashlib.sha256(samples.png(b"in order")).hexdigest()
    assert taken[0]["message"]["image"] == {"id": uploaded["id"], "caption": "Look"}


def test_a_csv_file_is_uploaded_as_plain_text_and_keeps_its_name(env: MetaEnv) -> None:
    table = {**keep(env, b"a;b\n1;2\n", "text/csv"), "filename": "list.csv"}
    (row,) = send(env, new_chat(), ("document", {"media": table, "filename": "list.csv"}))
    env.wait_state(row, "delivered")
    (uploaded,) = events(env, "media_uploaded")
    assert uploaded["mime_type"] == "text/plain"
    (taken,) = events(env, "accepted")
    assert taken["message"]["document"] == {"id": uploaded["id"], "filename": "list.csv"}


def test_a_death_in_the_middle_of_an_upload_loses_nothing_and_sends_nothing_twice(
    own_env: Callable[..., MetaEnv],
) -> None:
    env = own_env()
    env.start()
    picture = keep(env, samples.png(b"death"), "image/png")
    env.control("POST", "faults", {"fault": "hang_after", "call": "media"})
    (row,) = send(env, new_chat(), ("image", {"media": picture}))
    eventually(lambda: events(env, "media_uploaded"), 20, "the upload is under way")
    env.meta.process.kill()
    env.meta.wait_exit()
    env.meta.start()
    env.meta.wait_ready()
    env.wait_state(row, "delivered", within_s=30)
    (arrived,) = env.arrived(row)
    assert arrived["message"]["image"]["id"] == events(env, "media_uploaded")[-1]["id"]
    assert "in_doubt" not in [state for state, _ in env.history(row)], "nothing of the message had left"
