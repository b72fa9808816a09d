"""What is due is found at a cost that does not grow with what waits, and the backlog of one hides nothing of
another.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.clock import monotonic
from shared.store import messages
from shared.store.pool import Pool, Transaction
from tests.store.env import StoreEnv
from tests.support.database import query

FEW_PAGES = 20_000
"""Pages of 8 kB that one look may read; the backlogs below have more rows than that, each of which used to cost
several.
"""


@pytest.fixture
def fill(own_env: StoreEnv) -> Callable[..., None]:
    """Queue rows: how many, at which connection, the chat of row `g` as SQL, and columns as SQL."""

    def insert(rows: int, connection_id: int, chat: str, **columns: str) -> None:
        names = "".join(f", {name}" for name in columns)
        values = "".join(f", {value}" for value in columns.values())
        query(
            own_env.url,
            f"""INSERT INTO messages (company_id, connection_id, process_name, chat_id, type, content,
                                      created_at{names})
                SELECT c.company_id, c.id, 'meta', {chat}, 'text', '{{}}', now() - interval '1 hour'{values}
                FROM phone_configs c, generate_series(0, {rows - 1}) AS g WHERE c.id = {connection_id}""",
        )

    return insert


def look(env: StoreEnv, most: int = 200) -> tuple[list[int], int]:
    """Return what one look finds, and how many pages it read."""
    pool = Pool(env.url, limit=1, application_name="look", idle_s=30.0, connect_s=5.0)

    def pages(transaction: Transaction) -> int:
        transaction._cursor.execute(
            """SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class
               WHERE oid = 'messages'::regclass
                 OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'messages'::regclass)"""
        )
        return int(transaction._cursor.fetchone()[0])

    with pool.transaction(monotonic() + 30) as transaction:
        found = messages.due(transaction, kind="meta", grace_s=1.0, most=most)
        read = pages(transaction)
    pool.close()
    return found, read


def chats(env: StoreEnv, ids: list[int]) -> set[str]:
    rows = query(env.url, "SELECT chat_id FROM messages WHERE id = ANY(%(ids)s)", ids=ids)
    return {row["chat_id"] for row in rows}


def test_the_heads_of_a_few_chats_with_very_many_rows(own_env: StoreEnv, fill: Callable[..., None]) -> None:
    fill(60_000, own_env.connection, "'chat-' || g / 3000")
    found, read = look(own_env)
    assert chats(own_env, found) == {f"chat-{number}" for number in range(20)}
    assert len(found) == 20
    assert read < FEW_PAGES


def test_the_backlog_of_one_number_hides_no_row_of_another(own_env: StoreEnv, fill: Callable[..., None]) -> None:
    other = own_env.connect("globex")
    fill(30_000, own_env.connection, "'chat-' || g")
    fill(50, other, "'other-' || g")
    found, _ = look(own_env, most=100)
    assert len(found) == 100
    assert sum(chat.startswith("other-") for chat in chats(own_env, found)) == 50


def test_rows_that_wait_for_their_retry_hide_none_whose_wait_is_over(
    own_env: StoreEnv, fill: Callable[..., None]
) -> None:
    fill(30_000, own_env.connection, "'chat-' || g", not_before="now() + interval '1 hour'", attempt="1")
    fill(30_000, own_env.connection, "'chat-' || g")
    fill(3, own_env.connection, "'over-' || g", not_before="now() - interval '1 second'", attempt="1")
    fill(2, own_env.connection, "'lost-' || g")
    found, read = look(own_env)
    assert chats(own_env, found) == {"over-0", "over-1", "over-2", "lost-0", "lost-1"}
    assert read < FEW_PAGES


def test_scheduled_rows_of_one_chat_hide_no_other_chat(own_env: StoreEnv, fill: Callable[..., None]) -> None:
    fill(20_000, own_env.connection, "'one'", scheduled_for="now() - interval '1 minute'")
    fill(3, own_env.connection, "'z' || g", scheduled_for="now() - interval '1 second'")
    fill(20_000, own_env.connection, "'later-' || g", scheduled_for="now() + interval '1 day'")
    found, read = look(own_env)
    assert "one" in chats(own_env, found)
    assert read < 3 * FEW_PAGES


def test_attempts_count_beyond_a_small_integer(env: StoreEnv) -> None:
    (row_id,) = env.accept("a")
    query(env.url, "UPDATE messages SET attempt = 40000, forgiven = 39999 WHERE id = %(id)s", id=row_id)
    (claimed,) = env.claim([row_id])
    assert claimed.attempt == 40001
    assert f":{row_id}:40001:" in claimed.token
