"""One message through one page: chosen id, stored first, arrives once; every failure is distinguished; a crash is
reconciled."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.clock import monotonic, utc_now
from shared.delivery.reconcile import Hold, decide
from shared.errors import Fenced
from shared.messages import Dead, InDoubt, Outcome, Retry, Sent
from shared.states import DesiredSession, MessageState, SessionState
from shared.store.messages import Doubt
from tests.support.waiting import eventually_async, patient_by
from tests.webdriver.env import (
    QUICK,
    SessionEnv,
    Tokens,
    Web,
    kill_browser,
    message,
    run,
    session_env,
    soon,
)
from tests.webdriver.kept_session import KeptSession
from webdriver.chromium import profile

PHONE = "60111222333"


def doubt(token: str) -> Doubt:
    """Return a row in doubt."""
    return Doubt(message=message(token=token), age_s=1.0, doubt_s=1.0, claimed_at=utc_now(), policy=None)


async def outcome_of(here: SessionEnv, token: str) -> Outcome:
    """Ask until the page can answer."""

    async def asked() -> Outcome | None:
        found = await here.channel.look_up(doubt(token))
        return None if isinstance(found, InDoubt) else found

    found = await eventually_async(asked, 10)
    assert found is not None
    return found


def by() -> float:
    return patient_by(10.0)


CHATS = {
    "60123456789": "60123456789@c.us",
    "+60123456789": "60123456789@c.us",
    "60123456789@c.us": "60123456789@c.us",
    "60123456787": "14120162334126@lid",
    "120363012345678901@g.us": "120363012345678901@g.us",
}
"""What a client may write, and the chat that the page knows it by."""


def test_text_arrives_once_under_the_id_that_was_stored_before(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        for number, (chat_id, chat) in enumerate(CHATS.items()):
            await arrives_once(here, chat_id, chat, number)
        assert here.store.messages == {}, "our own message came in as another person's"

    async def arrives_once(here: SessionEnv, chat_id: str, chat: str, earlier: int) -> None:
        arrived_when_stored: list[int] = []

        async def look(_: str) -> None:
            arrived_when_stored.append(len(here.web.arrived()))

        tokens = Tokens(look)
        body = f"Grüße 👋 {earlier}\n\"quoted\" 'and' </script>"
        outcome = await here.channel.send(message(body, chat_id), tokens.record, by())
        (arrival,) = here.web.arrived(body)
        assert len(here.web.arrived()) == earlier + 1
        assert outcome == Sent(provider_id=tokens[0])
        assert arrived_when_stored == [earlier]
        assert len(tokens) == 1
        assert tokens[0].startswith(f"true_{chat}_")
        shown = (arrival.fields["message_id"], arrival.fields["chat"], arrival.fields["times"])
        assert shown == (tokens[0], chat, 1)

        def receipts() -> list[MessageState]:
            return [row.state for row in here.store.receipts if row.token == tokens[0]]

        await soon(
            lambda: receipts() == [MessageState.SENT, MessageState.DELIVERED, MessageState.READ], describe=receipts
        )
        assert {(row.provider_id, row.connection_id) for row in here.store.receipts if row.token == tokens[0]} == {
            (tokens[0], 1)
        }

    kept_session.run(scenario)


def test_reply_quotes_what_was_written(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        question = (await here.order(PHONE, "messages", {"from": "60123456789", "body": "open today?"}))["id"]
        await soon(lambda: here.store.messages)
        sent = await here.channel.send(
            message("yes", content={"body": "yes", "quoted": question}), Tokens().record, by()
        )
        assert isinstance(sent, Sent)
        assert here.web.arrived("yes")[0].fields["quoted"] == question
        unknown = "false_60123456789@c.us_3EB0000000000000000000"
        refused = await here.channel.send(
            message("no", content={"body": "no", "quoted": unknown}), Tokens().record, by()
        )
        assert isinstance(refused, Dead) and refused.code == "quoted_message_unknown"
        assert here.web.arrived("no") == []

    kept_session.run(scenario)


def test_lost_row_is_not_sent(kept_session: KeptSession) -> None:
    async def fenced(_: str) -> None:
        raise Fenced("another incarnation owns the row")

    async def scenario(here: SessionEnv) -> None:
        with pytest.raises(Fenced):
            await here.channel.send(message(), Tokens(fenced).record, by())
        assert isinstance(await here.channel.send(message("next"), Tokens().record, by()), Sent), (
            "the session stayed locked"
        )
        assert [entry.fields["body"] for entry in here.web.arrived()] == ["next"]

    kept_session.run(scenario)


def test_what_cannot_be_sent_is_dead_or_refunded(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            absent = await here.channel.send(message(), Tokens().record, by())
            assert isinstance(absent, Retry) and absent.code == "session_not_ready" and not absent.counts
            await here.link()
            tokens = Tokens()
            invalid = await here.channel.send(message(chat_id="nonsense@nowhere"), tokens.record, by())
            assert isinstance(invalid, Dead) and invalid.code == "invalid_chat_id"
            unfound = await here.channel.send(message(chat_id="123"), tokens.record, by())
            assert isinstance(unfound, Retry) and unfound.code == "chat_lookup_failed" and unfound.counts
            unsent = await here.channel.send(message(type="interactive"), tokens.record, by())
            assert isinstance(unsent, Dead) and unsent.code == "unsupported_type"
            await here.order(PHONE, "offline")
            await here.until(SessionState.OFFLINE)
            offline = await here.channel.send(message(), tokens.record, by())
            assert isinstance(offline, Retry) and offline.code == "session_not_ready"
            assert tokens == [] and web.arrived() == []

    run(scenario())


RESULTS: list[tuple[str, type, str]] = [
    ("ERROR_NETWORK", InDoubt, "send_network"),
    ("ERROR_UNKNOWN", InDoubt, "send_unknown"),
    ("ERROR_CANCELLED", Retry, "send_cancelled"),
    ("ERROR_EXPIRED", Retry, "send_expired"),
    ("chat_not_found", Dead, "chat_not_found"),
    ("something_new", InDoubt, "page_error"),
]


def test_results_and_errors_of_the_page(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        for number, (fault, outcome, code) in enumerate(RESULTS):
            await here.order(PHONE, "faults", {"fail_sends": [fault]})
            result = await here.channel.send(message(id=7 + number), Tokens().record, by())
            assert isinstance(result, outcome) and not isinstance(result, Sent), fault
            assert result.code == code
        assert here.web.arrived() == []

    kept_session.run(scenario)


def test_second_attempt_keeps_its_id_unless_the_chat_has_another_now(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            kept = "true_60123456789@c.us_3EB0AAAAAAAAAAAAAAAAAA"
            tokens = Tokens()
            assert await here.channel.send(message(token=kept, attempt=2), tokens.record, by()) == Sent(
                provider_id=kept
            )
            moved = "true_60123456787@c.us_3EB0BBBBBBBBBBBBBBBBBB"
            outcome = await here.channel.send(message(chat_id="60123456787", token=moved), tokens.record, by())
            assert isinstance(outcome, Sent)
            assert tokens == [kept, outcome.provider_id]
            assert outcome.provider_id.startswith("true_14120162334126@lid_")
            (met,) = await soon(lambda: here.store.contacts)
            assert (met.user_id, met.phone) == ("14120162334126@lid", "60123456787")

    run(scenario())


def test_answer_after_the_deadline_is_in_doubt_and_found_later(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        await here.order(PHONE, "faults", {"hold_before_s": 4.0})
        tokens = Tokens()
        late = await here.channel.send(message(), tokens.record, monotonic() + 2.0)
        assert isinstance(late, InDoubt) and late.code == "page_answer_late"
        assert await here.channel.look_up(doubt(tokens[0])) is None, "the send is still under way"
        assert here.web.arrived() == []
        await soon(here.web.arrived)
        found = await outcome_of(here, tokens[0])
        assert found == Sent(provider_id=tokens[0])
        assert len(here.web.arrived()) == 1

    kept_session.run(scenario)


def test_killed_after_the_phone_took_it_is_looked_up_as_sent(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            await here.order(PHONE, "faults", {"hold_after_s": 30.0})
            tokens = Tokens()
            sending = asyncio.create_task(here.channel.send(message(), tokens.record, by()))
            await soon(web.arrived)
            kill_browser(here.session())
            outcome = await sending
            assert isinstance(outcome, InDoubt) and outcome.code == "browser_lost"
            unasked = await here.channel.look_up(doubt(tokens[0]))
            assert isinstance(unasked, InDoubt)
            assert decide(unasked, policy="auto", doubt_s=3600, window_s=10) is None, (
                "the time for finding out has not begun"
            )
            await here.order(PHONE, "faults", {"hold_after_s": 0})
            await soon(lambda: here.session().restarts == 1 and here.session().page(), 40)
            assert await here.channel.look_up(doubt(tokens[0])) == Sent(provider_id=tokens[0])
            await soon(
                lambda: here.store.receipts and here.store.receipts[-1].state is MessageState.READ,
                describe=lambda: here.store.receipts,
            )
            assert [entry.fields["times"] for entry in web.arrived()] == [1]

    run(scenario())


def test_killed_before_the_page_took_it_is_looked_up_as_unsent_and_resent_under_the_same_id(
    home: Path, web: Web
) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()

            async def kill(_: str) -> None:
                kill_browser(here.session())

            tokens = Tokens(kill)
            outcome = await here.channel.send(message(), tokens.record, by())
            assert isinstance(outcome, InDoubt)
            await soon(lambda: here.session().restarts == 1 and here.session().page(), 40)
            unsent = await here.channel.look_up(doubt(tokens[0]))
            assert isinstance(unsent, Retry) and unsent.code == "not_sent" and not unsent.counts
            again = await here.channel.send(message(token=tokens[0], attempt=2), Tokens().record, by())
            assert again == Sent(provider_id=tokens[0])
            assert [entry.fields["times"] for entry in web.arrived()] == [1]
            never_chosen = await here.channel.look_up(doubt(""))
            assert isinstance(never_chosen, Retry) and never_chosen.code == "not_sent"

    run(scenario())


def test_reload_in_the_middle_of_a_send_is_in_doubt_and_resolved(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            await here.order(PHONE, "faults", {"hold_before_s": 1.0})
            tokens = Tokens()
            sending = asyncio.create_task(here.channel.send(message(), tokens.record, by()))
            await soon(lambda: tokens)
            await asyncio.sleep(0.3)
            await here.order(PHONE, "reload")
            assert isinstance(await sending, InDoubt)
            await here.order(PHONE, "faults", {"hold_before_s": 0})
            found = await outcome_of(here, tokens[0])
            # the page kept the message and handed it over itself
            assert found == Sent(provider_id=tokens[0])
            await soon(web.arrived)

    run(scenario())


def test_one_message_at_a_time_in_a_session(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        await here.order(PHONE, "faults", {"hold_after_s": 0.2})
        outcomes = await asyncio.gather(
            *(here.channel.send(message(f"number {n}"), Tokens().record, by()) for n in range(5))
        )
        assert all(isinstance(outcome, Sent) for outcome in outcomes)
        assert [entry.fields["body"] for entry in here.web.arrived()] == [f"number {n}" for n in range(5)]
        slow = asyncio.create_task(here.channel.send(message("slow"), Tokens().record, by()))
        await asyncio.sleep(0.05)
        busy = await here.channel.send(message("busy"), Tokens().record, monotonic() + 1.05)
        assert isinstance(busy, Retry) and busy.code == "session_busy" and not busy.counts
        assert isinstance(await slow, Sent)

    kept_session.run(scenario)


def test_slow_and_lost_acks(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web, QUICK) as here:
            await here.link()
            await here.order(PHONE, "faults", {"lose_acks": [1]})
            tokens = Tokens()
            outcome = await here.channel.send(message("no answer ever"), tokens.record, monotonic() + 2.0)
            assert isinstance(outcome, InDoubt)
            # the answer to the send is lost, but the receipts of the receiver's phone prove it
            await soon(
                lambda: [row.state for row in here.store.receipts if row.token == tokens[0]][-1:] == [MessageState.READ]
            )
            assert await here.channel.look_up(doubt(tokens[0])) == Sent(provider_id=tokens[0])

    run(scenario())


async def _relinked(here: SessionEnv, how: str, phone: str) -> None:
    """End the link of session 1 in some way and link it again."""
    if how == "logged out on the phone":
        await here.order(PHONE, "logout")
    elif how == "wiped":
        await here.sessions.wipe(1, patient_by(20))
    else:
        here.store.want(1, DesiredSession.PAUSED)
        here.sessions.notify()
        await here.until(SessionState.ABSENT)
        await soon(lambda: here.sessions.find(1) is None)
        await asyncio.to_thread(shutil.rmtree, profile.directory(here.context.home, 1))
    here.store.observed.pop(1)
    await here.link(phone=phone)


@pytest.mark.parametrize(
    ("how", "phone"),
    [("logged out on the phone", PHONE), ("wiped", "60111222444"), ("the profile was lost", PHONE)],
)
def test_a_page_proves_no_absence_of_what_was_sent_through_another_link(
    home: Path, web: Web, how: str, phone: str
) -> None:
    """Every naming: the new page knows nothing of what the old one sent, also when the number is the same."""

    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            first = Tokens()
            target = await here.channel.send(message(), first.record, by())
            assert isinstance(target, Sent)
            assert first.links == [here.session().link]
            await here.order(PHONE, "faults", {"lose_acks": [1]})
            rows = {
                "text": {"body": "once", "quoted": None},
                "edit": {"target": target.provider_id, "body": "changed"},
                "reaction": {"target": target.provider_id, "emoji": "👍"},
                "forward": {"target": target.provider_id},
            }
            doubts = []
            for number, (type_, content) in enumerate(rows.items(), 20):
                tokens = Tokens()
                claimed_at = utc_now()
                row = message(id=number, type=type_, content=content)
                assert isinstance(await here.channel.send(row, tokens.record, monotonic() + 1.5), InDoubt | Sent)
                doubts.append(replace(doubt(tokens[0]), message=replace(row, token=tokens[0]), claimed_at=claimed_at))
            arrived = len(web.arrived())
            await _relinked(here, how, phone)
            await soon(here.session().page)
            for one in doubts:
                found = await here.channel.look_up(one)
                assert found is None, (one.message.type, found)
                assert decide(found, policy="auto", doubt_s=60, window_s=10) == Hold("no_evidence")
            assert len(web.arrived()) == arrived
            # what is sent through this link it does know
            assert await here.store.linked_at(1, here.session().link) is not None
            lost = doubt("true_60123456789@c.us_3EB0000000000000000000")
            unsent = await here.channel.look_up(lost)
            assert isinstance(unsent, Retry) and unsent.code == "not_sent"
            # the attempt itself names its link: when the link came is not all that is compared
            assert await here.channel.look_up(replace(lost, link=first.links[0])) is None
            found = await here.channel.look_up(replace(lost, link=here.session().link))
            assert isinstance(found, Retry) and found.code == "not_sent"

    run(scenario())


def test_nothing_is_sent_through_a_link_that_the_store_does_not_know(home: Path, web: Web) -> None:
    """Rows are claimed for the account that the store knows: until it knows this one, they would leave from another."""
    known = asyncio.Event()

    async def scenario() -> None:
        async with session_env(home, web) as here:
            write = here.store.observe

            async def observe(*args: Any, **fields: Any) -> None:
                if fields["link"]:
                    await known.wait()
                await write(*args, **fields)

            here.store.observe = observe  # type: ignore[method-assign]  # a database that is slow with one row
            here.store.want(1)
            here.sessions.notify()
            await here.until(SessionState.NEEDS_LINK)
            await here.ask("/control/web/scan", {"code": here.store.qr(1), "phone": PHONE})
            await soon(lambda: here.session().state is SessionState.READY, 30)
            refused = await here.channel.send(message(), Tokens().record, by())
            assert isinstance(refused, Retry) and refused.code == "session_not_ready" and not refused.counts
            known.set()
            await soon(here.session().page)
            assert isinstance(await here.channel.send(message(), Tokens().record, by()), Sent)

    run(scenario())
