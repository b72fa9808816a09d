"""The channel over real HTTP: what each code, each fault and each broken network becomes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meta.errors import RULES, ErrorAction
from shared.errors import Fenced
from shared.messages import Dead, InDoubt, Outcome, Retry, Sent
from shared.settings import Settings
from shared.store import connections, inbound, webhook_evidence
from shared.store.inbound import RawEvent
from tests.meta.channel_env import KIND, ChannelEnv, channel_env, run
from tests.meta.seed import COMPANY, D360, DIRECT, EMBEDDED, ROWS, sealed
from tests.sandbox.env import SandboxEnv
from tests.support.ports import free_ports
from tests.support.waiting import within

AtSandbox = Callable[..., Settings]


def kind_of(outcome: Outcome) -> ErrorAction:
    """Return what an outcome shows of the rule behind it."""
    match outcome:
        case Dead():
            return ErrorAction.DEAD
        case Retry(counts=True):
            return ErrorAction.RETRY
        case Retry():
            return ErrorAction.THROTTLE
    raise AssertionError(outcome)


def test_every_code_of_the_table_over_http(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> dict[int, tuple[ErrorAction, ErrorAction]]:
        seen = {}
        for code, rule in RULES.items():
            async with channel_env(at_sandbox()) as own:
                sandbox.arm("error", code=code)
                outcome = await own.send()
                assert not isinstance(outcome, Sent | InDoubt)
                assert outcome.code == str(code)
                assert "fbtrace_id" in outcome.detail
                paused = own.store.run(connections.by_index, COMPANY, DIRECT).status == "paused"  # type: ignore[union-attr]  # it was seeded
                own.store.run(connections.resume, own.ids[DIRECT])
                seen[code] = (ErrorAction.PAUSE if paused else kind_of(outcome), rule.action)
        return seen

    wrong = {code: pair for code, pair in run(scenario()).items() if pair[0] is not pair[1]}
    assert not wrong


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cut_before": ("no_answer", {}),
    "cut_after": ("no_answer", {}),
    "hang": ("no_answer", {}),
    "hang_after": ("no_answer", {}),
    "5xx_after_accept": ("http_502", {"http_status": 502}),
    "error": ("http_500", {"http_status": 500}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("phone_index", [DIRECT, D360])
def test_what_may_have_been_taken_is_in_doubt(
    at_sandbox: AtSandbox, sandbox: SandboxEnv, fault: str, phone_index: int
) -> None:
    expected, details = FAULTS[fault]

    async def scenario() -> tuple[Outcome, Outcome]:
        async with channel_env(at_sandbox()) as own:
            sandbox.arm(fault, **details)
            first = await own.send(own.message(phone_index=phone_index), within_s=0.5)
            assert own.tokens == ["bulkhead:1:1"], "said to be written before the first byte left"
            return first, await own.send(own.message(2, phone_index=phone_index))

    first, second = run(scenario())
    assert isinstance(first, InDoubt)
    assert first.code == expected
    assert isinstance(second, Sent), "the next send finds a connection that works"


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:{port}", "http://no-such-host.invalid", "https://127.0.0.1:{sandbox}", "http://no..such..host"],
)
def test_what_surely_never_left_is_tried_again(at_sandbox: AtSandbox, sandbox: SandboxEnv, address: str) -> None:
    graph = address.format(port=free_ports(1)[0], sandbox=sandbox.base.rpartition(":")[2])

    async def scenario() -> Outcome:
        async with channel_env(at_sandbox(graph_base_url=graph)) as own:
            outcome = await own.send()
            assert own.tokens == [], "never said to be written"
            return outcome

    outcome = run(scenario())
    assert isinstance(outcome, Retry), outcome
    assert (outcome.code, outcome.counts) == ("connection_failed", False)


def test_a_server_that_accepts_and_says_nothing_is_in_doubt_and_one_that_never_accepts_is_not(
    at_sandbox: AtSandbox,
) -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        with socket.create_server(("127.0.0.1", 0), backlog=5) as silent:
            async with channel_env(at_sandbox(graph_base_url=f"http://127.0.0.1:{silent.getsockname()[1]}")) as own:
                connected = await own.send(within_s=0.3)
        async with channel_env(at_sandbox()) as own:
            # its deadline has passed before a connection could be had
            return connected, await own.send(within_s=-1.0)

    connected, late = run(scenario())
    assert isinstance(connected, InDoubt)
    assert isinstance(late, Retry)


def test_an_endless_answer_is_not_read_to_its_end(at_sandbox: AtSandbox) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            writer.close()

    async def scenario() -> Outcome:
        server = await asyncio.start_server(flood, "127.0.0.1", 0)
        async with channel_env(
            at_sandbox(graph_base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ) as own:
            outcome = await own.send()
        server.close()
        return outcome

    outcome = run(scenario())
    assert isinstance(outcome, InDoubt)
    assert outcome.code == "answer_unreadable"


@pytest.mark.parametrize("connected_before", [True, False])
def test_a_row_that_is_no_longer_ours_is_not_sent(
    at_sandbox: AtSandbox, sandbox: SandboxEnv, connected_before: bool
) -> None:
    async def scenario() -> None:
        async with channel_env(at_sandbox()) as own:
            if connected_before:
                assert isinstance(await own.send(), Sent)
            since = sandbox.control("POST", "reset", {})["seq"]
            own.fenced = True
            with pytest.raises(Fenced):
                await own.send(own.message(2))
            own.fenced = False
            assert isinstance(await own.send(own.message(3)), Sent)
            assert [entry["callback"] for entry in sandbox.ledger("accepted", since=since)] == ["bulkhead:3:1"]

    run(scenario())


def test_not_one_byte_leaves_before_it_is_said(at_sandbox: AtSandbox) -> None:
    received, ended = bytearray(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())
        writer.close()
        ended.set()

    async def scenario() -> None:
        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        async with channel_env(
            at_sandbox(graph_base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ) as own:
            own.fenced = True
            with pytest.raises(Fenced):
                await own.send()
            await within(ended.wait(), 5)
            assert received == b""
        server.close()

    run(scenario())


def test_sends_share_connections(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> int:
        async with channel_env(at_sandbox()) as own:
            for number in range(20):
                assert isinstance(await own.send(own.message(number)), Sent)
            return len(own.graph._pool._idle)

    assert run(scenario()) == 1


def test_a_throttled_connection_is_not_called_and_others_are(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> tuple[Outcome, ...]:
        async with channel_env(at_sandbox()) as own:
            sandbox.arm("error", code=131057)
            refused = await own.send()
            since = sandbox.ledger()[-1]["seq"]
            waiting = await own.send(own.message(2, chat="15550100201"))
            other = await own.send(own.message(3, phone_index=EMBEDDED))
            assert len(sandbox.ledger("accepted", since=since)) == 1
            return refused, waiting, other

    refused, waiting, other = run(scenario())
    assert isinstance(refused, Retry)
    assert isinstance(waiting, Retry)
    assert (refused.code, refused.counts, waiting.code, waiting.counts) == ("131057", False, "throttled", False)
    assert waiting.after_s is not None
    assert 14 < waiting.after_s <= 15
    assert isinstance(other, Sent)


def observed(own: ChannelEnv) -> Any:
    return next(row for row in own.store.run(connections.of_company, COMPANY) if row["phone_index"] == DIRECT)


def store_credentials(own: ChannelEnv, phone_index: int, credentials: str) -> None:
    _, connection_type, account_id, _ = next(row for row in ROWS if row[0] == phone_index)
    own.store.run(
        connections.ensure,
        company_id=COMPANY,
        phone_index=phone_index,
        connection_type=connection_type,
        account_id=account_id,
        credentials=credentials,
    )


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "rubbish",
        "k1.AAAA.AAAA",
        "sealed elsewhere",
        {"access_token": ""},
        {},
        {"access_token": 5},
        {"access_token": "a\r\nX: y"},
        [],
        "not JSON",
    ],
    ids=repr,
)
def test_credentials_that_do_not_serve_hold_the_message_until_they_are_mended(
    at_sandbox: AtSandbox, sandbox: SandboxEnv, credentials: Any
) -> None:
    async def scenario() -> tuple[Outcome, Any, Outcome, Any]:
        async with channel_env(at_sandbox()) as own:
            good = own.store.run(connections.by_index, COMPANY, DIRECT)
            assert good is not None
            if isinstance(credentials, str) and credentials != "not JSON":
                stored = (
                    sealed(own.vault, EMBEDDED, {"access_token": "x"})
                    if credentials == "sealed elsewhere"
                    else credentials
                )
            else:
                stored = sealed(own.vault, DIRECT, credentials)
            store_credentials(own, DIRECT, stored)
            await own.accounts.refresh()
            before = await own.send()
            seen = observed(own)
            store_credentials(own, DIRECT, good.credentials)
            await own.accounts.refresh()
            healed = await own.send()
            return before, seen, healed, observed(own)

    before, seen, after, mended = run(scenario())
    assert isinstance(before, Retry)
    assert (before.code, before.counts) == ("credentials_unusable", False)
    assert (seen["observed"], seen["detail"]) == ("misconfigured", before.detail)
    assert isinstance(after, Sent)
    assert (mended["observed"], mended["detail"]) == ("ready", "")


def test_secrets_are_never_shown(at_sandbox: AtSandbox) -> None:
    async def scenario() -> str:
        async with channel_env(at_sandbox()) as own:
            found = [await own.accounts.find(row_id) for row_id in own.ids.values()]
            return repr(found) + repr(own.accounts)

    shown = run(scenario())
    assert "Account(" in shown
    assert not [secret for _, _, _, credentials in ROWS for secret in credentials.values() if secret in shown]


def test_a_connection_that_was_made_just_now_is_found(at_sandbox: AtSandbox) -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        async with channel_env(at_sandbox()) as own:
            await own.accounts.refresh()
            unknown = await own.send(own.message(connection_id=999_999))
            own.accounts._known, own.accounts._refreshed_at = {}, None
            return unknown, await own.send()

    unknown, known = run(scenario())
    assert isinstance(unknown, Retry)
    assert (unknown.code, unknown.counts) == ("connection_unknown", False)
    assert isinstance(known, Sent)


@pytest.mark.parametrize(
    ("doubt_s", "proved", "unread_s", "expected"),
    [
        (0.5, DIRECT, None, None),  # the window is not over
        (1.5, None, None, None),  # nothing proves any door
        (1.5, D360, None, None),  # another door is proved
        (1.5, EMBEDDED, None, None),  # another number of the same app
        (1.5, DIRECT, None, "not_sent"),
        (1.5, DIRECT, 5.0, "webhooks_unread"),  # the proof may wait in the journal
        (1.5, DIRECT, 0.6, "webhooks_unread"),  # it came before what proves the door
        (1.5, DIRECT, 0.1, "not_sent"),  # what came after it is being processed
    ],
)
def test_evidence_that_a_message_was_not_sent(
    at_sandbox: AtSandbox, doubt_s: float, proved: int | None, unread_s: float | None, expected: str | None
) -> None:
    async def scenario() -> Outcome | None:
        async with channel_env(at_sandbox(in_doubt_window_s=1)) as own:
            if proved is not None:
                own.store.run(proved_before, own.ids[proved], 0.4)
            if unread_s is not None:
                own.store.run(unread_since, unread_s)
            return await own.channel.look_up(own.doubt(own.message(), doubt_s, doubt_s + 1))

    found = run(scenario())
    assert (found.code if isinstance(found, Retry | InDoubt) else found) == expected


@pytest.mark.parametrize(("proved_ago_s", "expected"), [(0.5, None), (1.5, "not_sent")])
def test_a_held_message_waits_a_window_from_the_first_proof(
    at_sandbox: AtSandbox, proved_ago_s: float, expected: str | None
) -> None:
    async def scenario() -> Outcome | None:
        async with channel_env(at_sandbox(in_doubt_window_s=1)) as own:
            own.store.run(proved_before, own.ids[DIRECT], proved_ago_s)
            return await own.channel.look_up(own.doubt(own.message(), 60.0, 61.0, held=True))

    found = run(scenario())
    assert (found.code if isinstance(found, Retry | InDoubt) else found) == expected


def proved_before(transaction: Any, connection_id: int, seconds: float) -> None:
    """Note an event about a connection that happened and came so long ago."""
    at = datetime.now(UTC) - timedelta(seconds=seconds)
    webhook_evidence.note(
        transaction, [webhook_evidence.DoorEvent(connection_id=connection_id, received_at=at, happened_at=at)]
    )


def unread_since(transaction: Any, seconds: float) -> None:
    """Journal an event that came so long ago and was not read."""
    (row_id,) = inbound.journal(transaction, KIND.name, [RawEvent(source="meta", body=b"{}")])
    transaction._cursor.execute(
        "UPDATE inbound_journal SET received_at = now() - make_interval(secs => %s) WHERE id = %s", (seconds, row_id)
    )
