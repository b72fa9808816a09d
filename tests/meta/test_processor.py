"""The journal read into real tables: receipts move messages, messages are kept once, poison stops no other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meta.events import reading as events
from meta.events.parsed import ParsedEvents
from meta.inbound.processor import WebhookProcessor
from shared.errors import StoreUnavailable
from shared.inbound.pipeline import BATCH_MOST
from shared.process.beats import LoopBeat
from shared.process.metrics import Metrics
from shared.settings import Settings
from shared.states import MessageState
from shared.store import connections, inbound, messages
from shared.store.inbound import RawEvent
from shared.store.messages import NewMessage
from tests.meta.channel_env import KIND, ChannelEnv, channel_env, run
from tests.meta.seed import COMPANY, D360, DIRECT, EMBEDDED, status, text, webhook
from tests.meta.test_events import mutated
from tests.support.database import connected
from tests.support.examples import examples
from tests.support.waiting import eventually_async, within

MakeSettings = Callable[..., Settings]
NUMBER_OF = {DIRECT: "100000000000001", D360: "100000000000002", EMBEDDED: "100000000000003"}


def journal(own: ChannelEnv, *payloads: Any, connection_id: int | None = None) -> list[int]:
    """Keep webhooks as ingress does."""
    bodies = [payload if isinstance(payload, bytes) else json.dumps(payload).encode() for payload in payloads]
    return own.store.run(
        inbound.journal, KIND.name, [RawEvent(source="meta", body=body, connection_id=connection_id) for body in bodies]
    )


async def read_all(*readers: WebhookProcessor) -> None:
    """Process until nothing is left."""
    while any(await asyncio.gather(*(reader.process() for reader in readers))):
        pass


def ask(own: ChannelEnv, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connected(own.settings.database_url) as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def claimed(own: ChannelEnv, count: int = 1, phone_index: int = DIRECT) -> list[int]:
    """Make rows that are being sent."""
    new = [
        NewMessage(
            company_id=COMPANY,
            connection_id=own.ids[phone_index],
            process_name=KIND.name,
            chat_id=f"1555040{number:04}",
            type="text",
            content={"body": "x"},
        )
        for number in range(count)
    ]
    rows = [row.id for row in own.store.run(messages.accept, new)]
    own.store.run(messages.claim, kind=KIND.name, incarnation="test", ids=rows, most=count, token_at_claim=True)
    return rows


def states(own: ChannelEnv, rows: Iterable[int]) -> list[str]:
    return [str((own.store.run(messages.by_id, COMPANY, row) or {})["state"]) for row in rows]


def scenario(make: MakeSettings, play: Callable[[ChannelEnv], Any]) -> None:
    """Run `play` with a channel_env over its own database."""

    async def played() -> None:
        async with channel_env(make()) as own:
            await play(own)

    run(played())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sent", "delivered", "read"], "read"),
        (["read", "delivered", "sent"], "read"),
        (["delivered", "sent"], "delivered"),
        (["read"], "read"),
        (["played"], "read"),
        (["failed"], "failed"),
        (["sent", "failed"], "failed"),
        (["delivered", "failed"], "delivered"),
        (["failed", "delivered"], "delivered"),
        (["sent", "sent", "delivered", "delivered", "sent"], "delivered"),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
def test_statuses_in_any_order(portless: MakeSettings, words: list[str], expected: str, together: bool) -> None:
    async def play(own: ChannelEnv) -> None:
        (row,) = claimed(own)
        for word in words:
            journal(own, webhook({"statuses": [status(word, token=own.token(row), provider_id="wamid.P")]}))
            if not together:
                await read_all(own.processor)
        await read_all(own.processor)
        assert states(own, [row]) == [expected]
        assert ask(own, "SELECT provider_id FROM messages WHERE id = %s", row) == [("wamid.P",)]

    scenario(portless, play)


def test_matched_by_either_name_and_only_on_its_own_number(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        by_token, by_id, elsewhere = claimed(own, 3)
        settled = [messages.Settlement(id=by_id, state=MessageState.SENT, provider_id="wamid.KNOWN")]
        own.store.run(messages.settle, incarnation="test", settlements=settled)
        journal(
            own,
            webhook(
                {
                    "statuses": [
                        status("delivered", token=own.token(by_token)),
                        status("delivered", provider_id="wamid.KNOWN"),
                    ]
                }
            ),
            webhook({"statuses": [status("delivered", token=own.token(elsewhere))]}, number=NUMBER_OF[EMBEDDED]),
        )
        await read_all(own.processor)
        assert states(own, [by_token, by_id, elsewhere]) == ["delivered", "delivered", "sending"]

    scenario(portless, play)


def test_messages_are_kept_once_however_often_they_come(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        payload = webhook({"messages": [text("hi", "wamid.A"), text("hi", "wamid.A"), text("ho", "wamid.B")]})
        journal(own, payload, payload)
        await read_all(own.processor)
        journal(own, payload)
        await read_all(own.processor)
        assert ask(own, "SELECT provider_id, content ->> 'body' FROM inbound_messages ORDER BY provider_id") == [
            ("wamid.A", "hi"),
            ("wamid.B", "ho"),
        ]
        assert own.processor.received == 2
        assert ask(own, "SELECT DISTINCT outcome FROM inbound_journal") == [("",)]

    scenario(portless, play)


def test_two_instances_read_one_journal_once(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        rows = claimed(own, 50)
        payloads = []
        for number in range(400):
            row = rows[number % len(rows)]
            word = ("sent", "delivered", "read")[number % 3]
            payloads.append(
                webhook(
                    {
                        "statuses": [status(word, token=own.token(row), provider_id=f"wamid.R{row}")],
                        "messages": [text("x", f"wamid.{number % 150}")],
                    }
                )
            )
        journal(own, *payloads)
        beside = WebhookProcessor(own.store, own.accounts, Metrics(), kind=KIND.name)
        await read_all(own.processor, beside)
        assert ask(own, "SELECT count(*), count(DISTINCT provider_id) FROM inbound_messages") == [(150, 150)]
        assert own.processor.received + beside.received == 150
        assert set(states(own, rows)) == {"read"}
        assert ask(
            own, "SELECT count(*) FROM inbound_journal WHERE processed_at IS NULL OR attempts <> 1 OR outcome <> ''"
        ) == [(0,)]

    scenario(portless, play)


def test_a_thousand_updates_in_one_body(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        rows = claimed(own, 500)
        payload = webhook(
            {
                "statuses": [status("delivered", token=own.token(row), provider_id=f"wamid.R{row}") for row in rows],
                "messages": [text("x", f"wamid.{number}") for number in range(500)],
            }
        )
        journal(own, payload)
        await read_all(own.processor)
        assert set(states(own, rows)) == {"delivered"}
        assert ask(own, "SELECT count(*) FROM inbound_messages") == [(500,)]

    scenario(portless, play)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bodies that hold the word `POISON` break the reading in an unforeseen way."""
    real = events.parse_webhook

    def parse_webhook(body: bytes, *rest: Any) -> ParsedEvents:
        if b"POISON" in body:
            raise ZeroDivisionError("unforeseen")
        return real(body, *rest)

    monkeypatch.setattr(events, "parse_webhook", parse_webhook)


@pytest.mark.usefixtures("poison")
def test_poison_is_named_kept_and_blocks_no_other(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        good = [webhook({"messages": [text("x", f"wamid.{number}")]}) for number in range(6)]
        bad = [webhook({"messages": [text("POISON", f"wamid.BAD{number}")]}) for number in range(2)]
        ids = journal(own, bad[0], *good[:3], bad[1], *good[3:])
        await read_all(own.processor)
        assert ask(own, "SELECT count(*) FROM inbound_messages") == [(6,)]
        outcomes = dict(ask(own, "SELECT id, outcome FROM inbound_journal WHERE outcome <> ''"))
        assert outcomes == {ids[0]: "failed: ZeroDivisionError", ids[4]: "failed: ZeroDivisionError"}
        assert ask(own, "SELECT count(*) FROM inbound_journal WHERE processed_at IS NULL OR body = ''") == [(0,)]
        assert b"bulkhead_journal_rows_failed_total 2.0" in own.metrics.exposition()

    scenario(portless, play)


def test_poison_of_the_database_is_found_too(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        with closing(psycopg2.connect(own.settings.database_url)) as connection, connection.cursor() as cursor:
            cursor.execute("ALTER TABLE inbound_messages ADD CHECK (content ->> 'body' <> 'forbidden')")
            connection.commit()
        journal(
            own, webhook({"messages": [text("forbidden", "wamid.1")]}), webhook({"messages": [text("fine", "wamid.2")]})
        )
        await read_all(own.processor)
        assert ask(own, "SELECT provider_id FROM inbound_messages") == [("wamid.2",)]
        assert ask(own, "SELECT outcome FROM inbound_journal ORDER BY id") == [("failed: CheckViolation",), ("",)]

    scenario(portless, play)


def test_a_failed_status_pauses_the_connection(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        (row,) = claimed(own)
        (now,) = ask(own, "SELECT extract(epoch FROM now())::bigint")[0]
        failed = status("failed", token=own.token(row), at=now, errors=[{"code": 131042, "title": "payment"}])
        journal(own, webhook({"statuses": [failed]}))
        await read_all(own.processor)
        connection = own.store.run(connections.by_index, COMPANY, DIRECT)
        assert connection is not None
        assert (connection.status, connection.status_reason) == ("paused", "131042: payment problem")
        assert states(own, [row]) == ["failed"]

    scenario(portless, play)


def test_a_connection_that_was_made_after_the_last_look_is_found(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        await own.accounts.refresh()
        own.store.run(
            connections.ensure, company_id=COMPANY, phone_index=9, connection_type="meta_direct", account_id="777"
        )
        journal(
            own,
            webhook({"messages": [text("hi", "wamid.NEW")]}, number="777"),
            webhook({"messages": [text("hi", "wamid.NO")]}, number="778"),
        )
        await read_all(own.processor)
        assert ask(own, "SELECT provider_id FROM inbound_messages") == [("wamid.NEW",)]

    scenario(portless, play)


def test_it_wakes_at_once_and_survives_a_database_that_goes_away(
    portless: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inbound.take
    away = True

    def take(*arguments: Any, **named: Any) -> Any:
        if away:
            raise StoreUnavailable("away")
        return real(*arguments, **named)

    async def play(own: ChannelEnv) -> None:
        nonlocal away
        monkeypatch.setattr(inbound, "take", take)
        running = asyncio.create_task(own.processor.run(LoopBeat("journal", 30, asyncio.get_running_loop().time)))
        journal(own, webhook({"messages": [text("hi", "wamid.A")]}))
        own.processor.wake()
        await asyncio.sleep(0)

        async def smaller() -> bool:
            return own.processor._pipeline._most < BATCH_MOST

        await eventually_async(smaller, 5, "the batch becomes smaller")
        away = False

        async def kept() -> bool:
            return ask(own, "SELECT count(*) FROM inbound_messages") == [(1,)]

        await eventually_async(kept, 5, "the message is kept")
        own.processor.stop()
        await within(running, 5)

    scenario(portless, play)


@pytest.fixture
def fuzzed(portless: MakeSettings) -> Settings:
    """One database for all examples of one fuzzing run."""
    return portless()


@hypothesis_settings(
    max_examples=examples(15),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(payloads=st.lists(mutated(), min_size=8, max_size=16))
def test_no_payload_breaks_the_tables(fuzzed: Settings, payloads: list[Any]) -> None:
    async def play() -> None:
        async with channel_env(fuzzed) as own:
            own.store.run(
                connections.ensure,
                company_id=COMPANY,
                phone_index=9,
                connection_type="meta_direct",
                account_id="106540352242922",
            )
            later = f"wamid.WITNESS{len(ask(own, 'SELECT id FROM inbound_journal'))}"
            ids = journal(own, *payloads, webhook({"messages": [text("still here", later)]}))
            await read_all(own.processor)
            assert ask(own, "SELECT count(*) FROM inbound_messages WHERE provider_id = %s", later) == [(1,)]
            failed = ask(
                own,
                "SELECT id, outcome, convert_from(body, 'UTF8') FROM inbound_journal WHERE id = "
                "ANY(%s) AND outcome LIKE 'failed%%'",
                ids,
            )
            assert not failed
            assert ask(own, "SELECT count(*) FROM inbound_journal WHERE processed_at IS NULL") == [(0,)]

    run(play())
