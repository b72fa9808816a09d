"""What is claimed next, decided over histories that are data: no database, no clock but the test's."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from shared.delivery.backlog import CLAIM_AT_ONCE, GATHER_S, LONGEST_WAIT_S, UNSEEN_S, Backlog
from shared.messages import OutboundMessage
from shared.store.messages import Claimed, ClaimRequest

ONE, OTHER = 1, 2


def message(row_id: int, connection_id: int = ONE, chat_id: str = "a") -> OutboundMessage:
    """A claimed row."""
    return OutboundMessage(
        id=row_id,
        company_id="acme",
        connection_id=connection_id,
        connection_type="meta_direct",
        chat_id=chat_id,
        type="text",
        content={},
        attempt=1,
        token="t",
        incarnation="meta-0.a",
    )


def ask(backlog: Backlog, free: int = 10, now: float = 0.0, busy: Any = ()) -> ClaimRequest:
    """The next claim; there must be one."""
    request = backlog.request(free, now, busy)
    assert request is not None
    return request


def answer(
    backlog: Backlog,
    request: ClaimRequest,
    *claimed: OutboundMessage,
    waits: dict[int, float] | None = None,
    unseen: tuple[int, ...] = (),
    held: dict[int, int] | None = None,
    now: float = 0.0,
) -> None:
    """The claim came back."""
    backlog.claimed(
        request, Claimed(messages=list(claimed), waits=waits or {}, unseen=frozenset(unseen)), held or {}, now
    )


def test_nothing_offered_is_no_claim() -> None:
    assert Backlog().request(10, 0.0, ()) is None


def test_rows_are_claimed_in_the_order_of_their_offers_and_once() -> None:
    backlog = Backlog()
    backlog.offer([5, 3, 5, 4])
    request = ask(backlog, free=2)
    assert (request.ids, request.limit) == ([5, 3], 2)
    answer(backlog, request)
    assert ask(backlog).ids == [4]


def test_a_claim_that_failed_changes_nothing() -> None:
    backlog = Backlog()
    backlog.offer([5, 3])
    assert ask(backlog) == ask(backlog)


@pytest.mark.parametrize("free", [0, -3])
def test_without_capacity_there_is_no_claim(free: int) -> None:
    backlog = Backlog()
    backlog.offer([1])
    backlog.chat_freed((ONE, "a"))
    answer(backlog, ask(backlog), waits={OTHER: 0.0})
    assert backlog.request(free, 100.0, ()) is None


def test_one_claim_takes_only_so_many() -> None:
    backlog = Backlog()
    backlog.offer(range(1, 1000))
    assert len(ask(backlog, free=5000).ids) == CLAIM_AT_ONCE


def test_a_chat_with_a_message_in_flight_is_left_alone_until_it_is_settled() -> None:
    """Else the claim of the next attempt could overtake the settlement of the last."""
    backlog = Backlog()
    backlog.chat_freed((ONE, "a"))
    backlog.chat_freed((ONE, "b"))
    request = ask(backlog, busy={(ONE, "a")})
    assert request.chats == [(ONE, "b")]
    answer(backlog, request)
    assert backlog.request(10, 0.0, {(ONE, "a")}) is None
    assert ask(backlog).chats == [(ONE, "a")]


def test_chats_come_before_offers_and_both_share_the_limit() -> None:
    backlog = Backlog()
    backlog.offer([1, 2, 3])
    backlog.chat_freed((ONE, "a"))
    request = ask(backlog, free=2)
    assert (request.chats, request.ids) == ([(ONE, "a")], [1])


def test_a_limited_connection_is_polled_when_it_has_tokens_and_not_before() -> None:
    backlog = Backlog()
    backlog.offer([1, 2])
    answer(backlog, ask(backlog), waits={ONE: 5.0}, now=100.0)
    assert (backlog.paced, backlog.due_at(), len(backlog)) == ([ONE], 105.0, 0)
    assert backlog.request(10, 104.0, ()) is None
    request = ask(backlog, now=105.0 - GATHER_S / 2)
    assert (request.connections, request.ids) == ([ONE], [])
    answer(backlog, request, message(1), now=105.0)
    assert (backlog.paced, backlog.due_at()) == ([], inf)


def test_chats_of_a_waiting_connection_are_found_by_the_connection() -> None:
    backlog = Backlog()
    backlog.offer([1])
    answer(backlog, ask(backlog), waits={ONE: 5.0})
    backlog.chat_freed((ONE, "a"))
    backlog.chat_freed((OTHER, "a"))
    assert ask(backlog, now=1.0).chats == [(OTHER, "a")]


def test_connections_that_waited_get_half_of_the_limit() -> None:
    backlog = Backlog()
    backlog.offer([100])
    answer(backlog, ask(backlog), waits={ONE: 1.0})
    backlog.offer(range(1, 50))
    request = ask(backlog, free=10, now=2.0)
    assert (request.connections, len(request.ids), request.limit) == ([ONE], 5, 10)
    assert ask(backlog, free=1, now=2.0).ids == []


@pytest.mark.parametrize(("wait_s", "polled_at"), [(0.0, GATHER_S), (3.0, 3.0), (4000.0, LONGEST_WAIT_S)])
def test_waits_are_neither_too_short_nor_too_long(wait_s: float, polled_at: float) -> None:
    backlog = Backlog()
    backlog.offer([1])
    answer(backlog, ask(backlog), waits={ONE: wait_s})
    assert backlog.due_at() == polled_at


def test_a_crowded_connection_is_polled_as_soon_as_one_of_its_sends_ends() -> None:
    backlog = Backlog()
    backlog.offer([1, 2])
    answer(backlog, ask(backlog), message(1), waits={ONE: inf}, held={ONE: 1}, now=10.0)
    assert backlog.due_at() == 10.0 + LONGEST_WAIT_S
    backlog.send_ended(OTHER, 11.0)
    assert backlog.due_at() == 10.0 + LONGEST_WAIT_S
    backlog.send_ended(ONE, 12.0)
    assert ask(backlog, now=12.0).connections == [ONE]


def test_a_crowded_connection_whose_last_send_has_ended_meanwhile_does_not_wait() -> None:
    backlog = Backlog()
    backlog.offer([1])
    answer(backlog, ask(backlog), waits={ONE: inf}, held={}, now=10.0)
    assert backlog.due_at() == 10.0 + GATHER_S


def polled(backlog: Backlog) -> ClaimRequest:
    """A claim for a connection whose wait is over."""
    backlog.offer([1])
    answer(backlog, ask(backlog), waits={ONE: 1.0})
    return ask(backlog, now=1.0)


def test_a_connection_stays_known_until_nothing_of_it_is_queued() -> None:
    """The look at its due rows reads a part of them: one that found none is no proof."""
    backlog = Backlog()
    answer(backlog, polled(backlog), unseen=(ONE,), now=10.0)
    assert (backlog.paced, backlog.due_at()) == ([ONE], 10.0 + UNSEEN_S)
    answer(backlog, ask(backlog, now=11.0), now=11.0)
    assert (backlog.paced, backlog.due_at()) == ([], inf)


def test_rows_behind_a_message_in_flight_are_polled_when_it_ends() -> None:
    backlog = Backlog()
    answer(backlog, polled(backlog), message(1), unseen=(ONE,), held={ONE: 1}, now=10.0)
    backlog.chat_freed((ONE, "a"))
    backlog.send_ended(ONE, 10.1)
    assert ask(backlog, now=10.1).connections == [ONE]


def test_a_wait_for_a_token_wins_over_unseen_rows() -> None:
    backlog = Backlog()
    answer(backlog, polled(backlog), unseen=(ONE,), waits={ONE: 5.0}, now=10.0)
    assert backlog.due_at() == 15.0
