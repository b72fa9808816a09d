"""The judge compares direction, content, time, state and history: each contradiction is named, and what is right is
not.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from math import inf
from typing import cast

import pytest

from chaos.api_view import ApiView
from chaos.calls import CallAnswer
from chaos.forms import FORMS, draw
from chaos.installation import ChaosInstallation
from chaos.judge import AcceptedMessage, HistoryStep, ProviderArrival, ReportedState, RunResult, judge
from chaos.ledger import content_of, reaction_to, received_messages
from chaos.load import ChaosLoad
from shared.clock import monotonic

MESSAGE = AcceptedMessage(
    text="chaos-1 a",
    chat="meta_direct/00001",
    number=1,
    accepted_at=100.0,
    id="1",
    account="100000000000001",
    recipient="15551000001",
    content={"body": "chaos-1 a"},
)
ARRIVAL = ProviderArrival(
    seq=5,
    at=101.0,
    text="chaos-1 a",
    account=MESSAGE.account,
    recipient=MESSAGE.recipient,
    content={"body": "chaos-1 a"},
)
REFUSAL = replace(ARRIVAL, seq=4, at=100.5, is_refused=True)
SENT = (HistoryStep(state="queued"), HistoryStep(state="sending", attempt=1), HistoryStep(state="sent", attempt=1))
DELIVERED = ReportedState(state="delivered", history=(*SENT, HistoryStep(state="delivered", attempt=1)))
STATUSES = {4: frozenset({"failed"}), 5: frozenset({"sent", "delivered"})}


def judged(
    message: AcceptedMessage = MESSAGE,
    received: tuple[ProviderArrival, ...] = (ARRIVAL,),
    reported: ReportedState = DELIVERED,
    attempts: int = 0,
) -> RunResult:
    known = {arrival.seq: STATUSES.get(arrival.seq, frozenset({"sent"})) for arrival in received}
    return judge([message], received, {message.text: reported}, statuses=known, attempts=attempts)


def test_what_is_right_is_clean() -> None:
    assert judged().is_clean


@pytest.mark.parametrize(
    ("change", "why"),
    [({"recipient": "15551000002"}, "to …0002, not …0001"), ({"account": "2"}, "from 2, not 100000000000001")],
)
def test_the_wrong_recipient_or_sender(change: dict[str, str], why: str) -> None:
    result = judged(received=(replace(ARRIVAL, **change),))  # type: ignore[arg-type]  # names of text fields
    assert dict(result.misdirected) == {MESSAGE.text: why}
    assert not result.is_clean


def test_another_content_or_type() -> None:
    assert judged(received=(replace(ARRIVAL, content={"body": "x"}),)).altered == {MESSAGE.text: "differs in body"}
    assert judged(received=(replace(ARRIVAL, type="image"),)).altered == {MESSAGE.text: "type image, not text"}


def test_an_arrival_before_its_time() -> None:
    assert judged(replace(MESSAGE, send_at=105.0)).early == {MESSAGE.text: "4.0 s before its time"}
    assert not judged(replace(MESSAGE, send_at=100.9)).early


def test_a_cancelled_message_must_not_arrive_and_is_deleted() -> None:
    cancelled, deleted = replace(MESSAGE, is_cancelled=True), ReportedState(state="deleted")
    assert judged(cancelled, (), deleted).is_clean
    assert judged(cancelled, (ARRIVAL,), deleted).cancelled == [MESSAGE.text]
    assert judged(cancelled, (), ReportedState(state="delivered")).misreported


@pytest.mark.parametrize(
    ("received", "state", "why"),
    [
        ((), "delivered", "shown as delivered, never arrived"),
        ((ARRIVAL,), "failed", "arrived, and shown as failed (131026)"),
        ((ARRIVAL,), "sent", "the provider reported delivered, shown as sent"),
        ((ARRIVAL,), "read", "shown as read, the provider reported delivered"),
        ((REFUSAL,), "sent", "the provider refused it, shown as sent"),
    ],
)
def test_a_state_that_the_ledger_contradicts(received: tuple[ProviderArrival, ...], state: str, why: str) -> None:
    result = judged(received=received, reported=ReportedState(state=state, code="131026" * (state == "failed")))
    assert result.misreported == {MESSAGE.text: why}
    assert not result.is_clean


def test_a_refusal_and_one_more_arrival_for_each_redrive() -> None:
    redriven = replace(MESSAGE, redrives=1)
    history = (
        *SENT,
        HistoryStep(state="failed", attempt=1),
        HistoryStep(state="queued", attempt=1),
        HistoryStep(state="sending", attempt=2),
        HistoryStep(state="sent", attempt=2),
        HistoryStep(state="delivered", attempt=2),
    )
    reported = ReportedState(state="delivered", history=history)
    assert judged(redriven, (REFUSAL, ARRIVAL), reported).is_clean
    assert judged(redriven, (REFUSAL, ARRIVAL, replace(ARRIVAL, seq=9)), reported).duplicated == {MESSAGE.text: 3}
    assert judged(MESSAGE, (REFUSAL, replace(REFUSAL, seq=3)), reported).duplicated == {MESSAGE.text: 2}


def test_a_redriven_message_that_fails_unsent() -> None:
    message = replace(MESSAGE, redrives=2, unsent_failures=1)
    assert "without having been sent" in judged(message).misreported[MESSAGE.text]


def test_resend_may_repeat_once_for_each_doubt_and_never_beyond_the_attempts() -> None:
    message = replace(MESSAGE, policy="resend")
    doubt = (HistoryStep(state="sending", attempt=1), HistoryStep(state="in_doubt", attempt=1))
    reported = ReportedState(
        state="delivered", history=(HistoryStep(state="queued"), *doubt, *doubt, *doubt, *SENT[1:])
    )
    received = tuple(replace(ARRIVAL, seq=seq) for seq in range(5, 9))
    assert not judged(message, received[:4], reported).duplicated
    assert judged(message, received[:4], reported, attempts=3).duplicated == {MESSAGE.text: 4}
    assert judged(MESSAGE, received[:2], reported).duplicated == {MESSAGE.text: 2}, "nobody asked for repetition"


def test_what_the_provider_denied_to_have_taken_may_arrive_once_more() -> None:
    denied = replace(ARRIVAL, seq=4, is_denied=True)
    assert not judged(received=(denied, ARRIVAL)).duplicated
    assert judged(received=(denied, ARRIVAL, replace(ARRIVAL, seq=6))).duplicated == {MESSAGE.text: 3}
    entry = {"seq": 1, "at": 1.0, "event": "accepted", "type": "text", "message": {"text": {"body": "chaos-1 x"}}}
    for more, is_denied in (({"code": 131000}, True), ({"code": None}, False)):
        (arrival,) = received_messages([{**entry, "fault": "5xx_after_accept", **more}], "chaos-1 ")
        assert arrival.is_denied is is_denied


def test_a_denied_arrival_that_was_delivered_outweighs_the_refusal_of_its_repetition() -> None:
    denied, refused = replace(ARRIVAL, is_denied=True), replace(REFUSAL, seq=9)
    history = (*SENT[:2], HistoryStep(state="queued", attempt=1), HistoryStep(state="sending", attempt=2))
    statuses = {5: frozenset({"sent", "delivered"}), 9: frozenset({"failed"})}

    def shown(state: str) -> RunResult:
        reported = ReportedState(state=state, history=(*history, HistoryStep(state=state, attempt=1)))
        return judge([MESSAGE], (denied, refused), {MESSAGE.text: reported}, statuses=statuses)

    assert shown("delivered").is_clean
    assert shown("sent").misreported == {MESSAGE.text: "the provider reported delivered, shown as sent"}


class _Api:
    """An API that answers a call for details only after `failures` calls have failed."""

    def __init__(self, failures: float) -> None:
        self.failures = failures

    async def api(self, _method: str, _path: str) -> CallAnswer | None:
        self.failures -= 1
        history = [{"state": "queued", "attempt": 0, "code": None}]
        return None if self.failures >= 0 else CallAnswer(200, {"history": history})


class _Chats:
    """The chats of a load, as far as a reader needs them."""

    def chat_named(self, _name: str) -> _Chats:
        return self

    def path(self, message_id: str) -> str:
        return f"/{message_id}"


@pytest.mark.parametrize(("failures", "is_read"), [(0, True), (3, True), (inf, False)])
def test_every_history_that_is_asked_for_is_read_or_the_run_is_not_settled(failures: float, is_read: bool) -> None:
    view = ApiView(cast(ChaosInstallation, _Api(failures)), cast(ChaosLoad, _Chats()))
    by = monotonic() + (60.0 if is_read else 0.0)
    found = asyncio.run(view.with_histories({MESSAGE.text: ReportedState(state="queued")}, [MESSAGE], by))
    assert found == ({MESSAGE.text: ReportedState(state="queued", history=SENT[:1])} if is_read else None)


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (SENT[1:], "begins with sending"),
        ((SENT[0], SENT[2], HistoryStep(state="delivered", attempt=1)), "1 arrivals, 0 attempts"),
        ((*DELIVERED.history, HistoryStep(state="delivered", attempt=1)), "delivered twice in attempt 1"),
        ((*DELIVERED.history, HistoryStep(state="failed", attempt=1)), "1 failures, 0 refusals of the provider"),
        (SENT, "shown as delivered, which its history does not contain"),
    ],
)
def test_a_history_that_the_ledger_or_itself_contradicts(history: tuple[HistoryStep, ...], why: str) -> None:
    result = judged(reported=ReportedState(state="delivered", history=history))
    assert result.misremembered == {MESSAGE.text: why}
    assert not result.is_clean


def test_a_reaction_is_recognised_by_its_target_and_an_edit_by_its_text() -> None:
    message = {"channel": "graph", "event": "accepted", "type": "text", "message": {"text": {"body": "chaos-1 a"}}}
    reaction = {
        "channel": "graph",
        "event": "accepted",
        "type": "reaction",
        "message": {"reaction": {"message_id": "wamid.a", "emoji": "👍"}},
    }
    edit = {"channel": "web", "event": "edit_arrived", "type": "protocol", "body": "chaos-1 c", "chat": "1@c.us"}
    entries = [{"seq": 1, "at": 1.0, "id": "wamid.a", **message}, {"seq": 2, "at": 2.0, "id": "wamid.b", **reaction}]
    found = received_messages(
        [*entries, {"seq": 3, "at": 3.0, **edit}], "chaos-1 ", {}, {reaction_to("chaos-1 a"): "chaos-1 b"}
    )
    assert [(one.text, one.type) for one in found] == [
        ("chaos-1 a", "text"),
        ("chaos-1 b", "reaction"),
        ("chaos-1 c", "edit"),
    ]


def test_scheduled_and_redriven_messages_have_no_place_in_the_order() -> None:
    later = replace(MESSAGE, text="chaos-1 b", number=2, content={"body": "chaos-1 b"})
    received = (replace(ARRIVAL, text="chaos-1 b", seq=4, content={"body": "chaos-1 b"}), ARRIVAL)
    reported = {MESSAGE.text: DELIVERED, later.text: DELIVERED}
    assert judge([MESSAGE, later], received, reported).reordered == [MESSAGE.text]
    assert not judge([replace(MESSAGE, send_at=100.5), later], received, reported).reordered
    assert not judge([replace(MESSAGE, redrives=1), later], received, reported).reordered


@pytest.mark.parametrize("type_", FORMS)
def test_every_form_is_recognised_by_its_text_on_the_provider_s_side(type_: str) -> None:
    """The bodies are the provider's: what the API makes of each form is checked by the runs themselves."""

    form = draw("chaos-1 x", random.Random(1), frozenset({type_}))
    part = {
        "text": {"body": "chaos-1 x"},
        "location": {**form.content, "name": "chaos-1 x"},
        "document": {"id": "m1", "caption": "chaos-1 x", "filename": "invoice.txt"},
        "image": {"id": "m1", "caption": "chaos-1 x"},
        "video": {"id": "m1", "caption": "chaos-1 x"},
        "audio": {"id": "m1"},
        "sticker": {"id": "m1"},
        "contacts": [{"name": {"formatted_name": "chaos-1 x"}}],
        "interactive": form.body.get("interactive"),
        "template": {
            "name": "order_update",
            "language": {"code": "en_US"},
            "components": form.body.get("components"),
        },
    }[type_]
    text, content = content_of(type_, {type_: part}, {"m1": form.content.get("sha256", "")})
    # what has no text is recognised by its bytes, which contain it
    names = {form.file: "chaos-1 x"} if form.file else {}
    assert text == ("" if names else "chaos-1 x")
    assert {name: content[name] for name in form.content} == dict(form.content)
    entry = {"seq": 1, "at": 1.0, "event": "accepted", "type": type_, "message": {type_: part}, "to": "1", "id": "w"}
    (arrival,) = received_messages([entry], "chaos-1 ", {"m1": form.content.get("sha256", "")}, names)
    assert (arrival.text, arrival.recipient, arrival.type) == ("chaos-1 x", "1", type_)
