"""Lists that may be longer than one page of them: what stands behind the first page is reached."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.inbound_events import MediaSource
from shared.messages import InboundMessage
from shared.states import MessageState
from shared.store import connections, inbound, inbound_media, pages
from tests.store.env import StoreEnv
from tests.support.database import query


def test_every_unread_send_is_reached(env: StoreEnv) -> None:
    ids = env.accept(*(f"chat-{number}" for number in range(5)))
    env.claim(ids)
    for row_id in ids:
        env.settle(row_id, MessageState.SENT, provider_id=f"true_{row_id}")
    found: list[str] = []
    below: int | None = None
    for expected in (2, 2, 1):
        some, below = env.store.run(
            pages.unread_sends, connection_id=env.connection, types=["text"], days=7, most=2, below=below
        )
        assert len(some) == expected
        found += some
    assert (found, below) == ([f"true_{row_id}" for row_id in reversed(ids)], None)


def test_every_connection_is_shown_to_operators(env: StoreEnv) -> None:
    env.connect("acme", phone_index=1)
    env.connect("globex")
    after, found = ("", 0), []
    while rows := env.store.run(connections.overview, after=after, most=2):
        found += [(row["company_id"], row["phone_index"]) for row in rows]
        after = found[-1]
    assert found == [("acme", 0), ("acme", 1), ("globex", 0)]


def test_every_file_that_was_not_fetched_is_listed(env: StoreEnv) -> None:
    names = [f"wamid.{number}" for number in range(3)]
    for name in names:
        message = InboundMessage(
            connection_id=env.connection,
            provider_id=name,
            chat_id="1",
            sender="1",
            type="image",
            content={},
            at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        (row,) = env.store.run(inbound.insert, [(message, None)])
        source = MediaSource(connection_id=env.connection, provider_id=name, id="1")
        env.store.run(inbound_media.media_pending, [(row["id"], source)])
    query(env.url, "UPDATE inbound_media SET state = 'failed'")
    first = env.store.run(inbound_media.not_fetched, "meta", most=2)
    last = env.store.run(inbound_media.not_fetched, "meta", below=first[-1]["message_id"], most=2)
    assert [row["message_id"] for row in first + last] == sorted(
        (row["message_id"] for row in first + last), reverse=True
    )
    assert (len(first), len(last)) == (2, 1)
