"""The tables: what each answer, ack and error means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pyppeteer.errors import ElementHandleError, NetworkError, PageError

from shared.messages import Dead, InDoubt, Retry, Sent
from shared.process.service import Severity
from shared.states import MessageState
from webdriver.chromium.browser import BrowserLost, CallTimedOut
from webdriver.chromium.pipe import PipeClosed
from webdriver.job import deliver
from webdriver.page import outcomes, parsing
from webdriver.service import WebdriverService

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        (NetworkError("Protocol error Runtime.evaluate: Target closed."), Severity.RECOVERABLE),
        (
            NetworkError("Protocol Error (Page.navigate): Session closed. Most likely the page has been closed."),
            Severity.RECOVERABLE,
        ),
        (RuntimeError("Protocol error (Target.attachToTarget): No target with given id"), Severity.RECOVERABLE),
        (RuntimeError("Session closed"), Severity.RECOVERABLE),
        (ElementHandleError("INTERNAL ERROR: missing context with id = 3"), Severity.RECOVERABLE),
        (PageError("Page crashed!"), Severity.RECOVERABLE),
        (PipeClosed("the browser closed the pipe"), Severity.RECOVERABLE),
        (BrowserLost("the tab crashed"), Severity.RECOVERABLE),
        (CallTimedOut("state was not answered in time"), Severity.RECOVERABLE),
        (ValueError("x"), Severity.CRITICAL),
        (MemoryError(), Severity.CRITICAL),
        (OSError(28, "No space left on device"), Severity.CRITICAL),
        (KeyError("protocol error"), Severity.CRITICAL),
        (SystemExit(3), Severity.CRITICAL),
    ],
)
def test_browser_failures_end_a_session_and_everything_else_the_process(
    error: BaseException, severity: Severity
) -> None:
    room = object.__new__(WebdriverService)
    assert room.classify(error) is severity


@pytest.mark.parametrize(
    ("ack", "state"),
    [(ack, MessageState.FAILED) for ack in range(-7, 0)]
    + [
        (1, MessageState.SENT),
        (2, MessageState.DELIVERED),
        (3, MessageState.READ),
        (4, MessageState.READ),
        (5, MessageState.SENT),
    ],
)
def test_every_ack_has_a_state(ack: int, state: MessageState) -> None:
    receipt = parsing.receipt(4, "true_60123456789@c.us_3EB0AA", ack, AT)
    assert receipt is not None
    assert (receipt.state, receipt.token, receipt.connection_id, bool(receipt.code)) == (
        state,
        "true_60123456789@c.us_3EB0AA",
        4,
        ack < 0,
    )


@pytest.mark.parametrize("ack", [0, -8, 6])
def test_an_ack_that_says_nothing_moves_nothing(ack: int) -> None:
    assert parsing.receipt(4, "true_60123456789@c.us_3EB0AA", ack, AT) is None


def test_answers() -> None:
    assert outcomes.of_answer({"id": "x", "ack": 1, "result": "OK"}) == Sent(provider_id="x")
    assert outcomes.of_answer({"id": "x", "ack": 1, "result": ""}) == Sent(provider_id="x")
    assert isinstance(outcomes.of_answer({"id": "x", "ack": 0, "result": ""}), InDoubt)
    assert isinstance(outcomes.of_answer({"id": "x", "ack": 0, "result": "ERROR_NEW"}), InDoubt)
    assert isinstance(outcomes.of_answer({"id": "x", "ack": -1, "result": "ERROR_UPLOAD"}), Retry)
    assert isinstance(outcomes.of_refusal("never_heard_of"), InDoubt)
    assert isinstance(outcomes.of_lookup("never_heard_of"), Retry)
    assert isinstance(outcomes.of_lookup("invalid_wid"), Dead)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"type": "chat"},
        {
            "type": "chat",
            "chat": "a",
            "fromMe": False,
            "id": "x",
            "body": "b",
            "author": "",
            "from": "a",
            "t": "soon",
            "notifyName": "",
        },
    ],
)
def test_events_without_sense_are_named_and_do_no_harm(broken: dict[str, Any]) -> None:
    with pytest.raises(parsing.EventUnreadable):
        parsing.inbound(1, broken)


@pytest.mark.parametrize(
    ("message_id", "chat"),
    [("true_1@c.us_AA", "1@c.us"), ("false_1@g.us_AA_2@lid", "1@g.us"), ("bulkhead:7:1", ""), ("", ""), ("true_x", "")],
)
def test_chat_of_a_message_id(message_id: str, chat: str) -> None:
    assert parsing.chat_of(message_id) == chat


def test_a_stock_worker_leaves_the_row_alone(caplog: pytest.LogCaptureFixture) -> None:
    deliver(7)
    (record,) = caplog.records
    assert cast("Any", record).event == "hint_ignored"
