"""The judgement of a run; pure.

The client's records show what was accepted; the provider's ledger shows what arrived: where, from which number, with
which content, how often, and which statuses were delivered to us. What Bulkhead reports about a message (its state and
history) is compared with both. A report that the ledger contradicts is a fault of its own. A report excuses a missing
message only if the row is held, parked, or waits behind a held one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_RANK: Final = {"sent": 1, "delivered": 2, "read": 3}
"""States that a provider's status proves; a later one implies the earlier ones."""
_LEFT: Final = frozenset(_RANK)
"""States that claim that the provider has the message."""
PARKED: Final = "poison"
"""Error code of a row that two processes were working on when they died."""
_EARLY_S: Final = 0.05
"""Seconds that a message may arrive before its `sendAt`, since the clocks of client and provider are read at different
moments.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedMessage:
    """A message that the API accepted with 202.

    Attributes:
        text: unique; part of the content, whatever the type. chat: name of company, connection and chat; `number`
            counts the messages of the chat in the order of their acceptance. accepted_at: seconds since 1970, as in the
            ledger. id: Bulkhead's. tries: requests until there was a response.
        account, recipient: the provider's id of the sending number, and the chat's number; empty: not compared.
        type, content: as the provider must receive them; None: not compared.
        send_at: not before this instant (seconds since 1970); the order of the chat does not apply to such a message.
        is_cancelled: the API confirmed that it will not be sent. redrives: how often the operator queued it again after
            a failure.
        unsent_failures: how often it failed again after a redrive without another call to the provider.
        policy: in-doubt policy in the request; empty: the installation's.
    """

    text: str
    chat: str
    number: int
    accepted_at: float
    id: str = ""
    tries: int = 1
    account: str = ""
    recipient: str = ""
    type: str = "text"
    content: Mapping[str, Any] | None = None
    send_at: float | None = None
    is_cancelled: bool = False
    redrives: int = 0
    unsent_failures: int = 0
    policy: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderArrival:
    """One arrival at the provider, in the ledger's order.

    Attributes:
        account, recipient, type, content: as the provider received them. is_refused: the provider accepted the call and
            refused the message afterwards (a `failed` status), so that it may be sent again. is_denied: the provider
            accepted it, but answered with its own error code, which means a refusal.
    """

    seq: int
    at: float
    text: str
    account: str = ""
    recipient: str = ""
    type: str = "text"
    content: Mapping[str, Any] | None = None
    is_refused: bool = False
    is_denied: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryStep:
    """One entry of a message's history."""

    state: str
    attempt: int = 0
    code: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedState:
    """What Bulkhead reports about a message: its state, the code of its last error, whether it is held for a human, and
    its history (empty: not read).
    """

    state: str
    code: str = ""
    held: bool = False
    history: Sequence[HistoryStep] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SenderKill:
    """A sender that was killed, and when (seconds since 1970)."""

    at: float
    target: str


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The outcome of a run. Messages are named by their texts.

    Attributes:
        lost: accepted, not arrived, and neither held nor parked. duplicated: arrived more often than allowed, with how
            often. reordered: arrived for the first time after a later one of their chat. held: not arrived; in doubt
            and held for a human. behind: not arrived; wait behind a held one. parked: not arrived; two processes died
            while working on them. in_doubt: arrived, but Bulkhead does not know it yet.
        misdirected: arrived at another recipient, or from another number, than requested. altered: arrived with another
            type or content.
        early: arrived before their time. cancelled: arrived although the API confirmed the cancellation.
        misreported: the reported state contradicts the ledger. misremembered: the history contradicts the ledger or
            itself.
        unasked: arrived although the client never got a response; allowed once.
        recoveries: for each kill of a sender the seconds until the last message that was accepted before it, and had
            not arrived, arrived.
    """

    accepted: int
    arrived: int
    lost: Mapping[str, str]
    duplicated: Mapping[str, int]
    reordered: Sequence[str]
    held: Mapping[str, str]
    behind: Sequence[str]
    parked: Sequence[str]
    in_doubt: Mapping[str, str]
    unasked: int
    recoveries: Sequence[tuple[SenderKill, float]]
    misdirected: Mapping[str, str] = field(default_factory=dict)
    altered: Mapping[str, str] = field(default_factory=dict)
    early: Mapping[str, str] = field(default_factory=dict)
    cancelled: Sequence[str] = ()
    misreported: Mapping[str, str] = field(default_factory=dict)
    misremembered: Mapping[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> Mapping[str, Mapping[str, object]]:
        """The messages that broke a guarantee, by the fault's name."""
        return {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "reordered": dict.fromkeys(self.reordered, ""),
            "misdirected": self.misdirected,
            "altered": self.altered,
            "early": self.early,
            "cancelled": dict.fromkeys(self.cancelled, ""),
            "misreported": self.misreported,
            "misremembered": self.misremembered,
        }

    @property
    def is_clean(self) -> bool:
        """Whether every guarantee was kept."""
        return not any(self.faults.values())


def judge(
    accepted: Sequence[AcceptedMessage],
    received: Sequence[ProviderArrival],
    reported: Mapping[str, ReportedState],
    kills: Sequence[SenderKill] = (),
    *,
    statuses: Mapping[int, frozenset[str]] | None = None,
    attempts: int = 0,
) -> RunResult:
    """Compare accepted messages, arrivals and reports.

    Args:
        arrivals: in the ledger's order. reported: by text; at least for the messages that did not arrive.
        statuses: which statuses of an arrival (by `seq`) the provider delivered to us; None, or no entry: not compared.
        attempts: SEND_ATTEMPTS of the installation, which bounds the repetitions of the policy `resend`. 0: not
            compared.
    """
    by_text: dict[str, list[ProviderArrival]] = defaultdict(list)
    for arrival in received:
        by_text[arrival.text].append(arrival)
    first = {text: found[0] for text, found in by_text.items()}
    promised = {message.text: message for message in accepted}
    missing = [message for message in accepted if message.text not in first]
    # a held message holds up its chat: messages behind it are neither lost nor late
    held_chats = {message.chat for message in accepted if (state := reported.get(message.text)) and state.held}
    lost: dict[str, str] = {}
    held: dict[str, str] = {}
    behind: list[str] = []
    parked: list[str] = []
    for message in missing:
        state = reported.get(message.text, ReportedState(state="unknown"))
        # it must not arrive; `cancelled` below checks that
        if message.is_cancelled:
            continue
        if state.held:
            held[message.text] = state.code
        elif state.state == "failed" and state.code == PARKED:
            parked.append(message.text)
        elif state.state == "queued" and message.chat in held_chats:
            behind.append(message.text)
        else:
            lost[message.text] = f"{state.state} {state.code}".strip()
    return RunResult(
        accepted=len(accepted),
        arrived=len(first),
        lost=lost,
        duplicated=_duplicated(promised, by_text, reported, attempts),
        reordered=_reordered(promised, first.values()),
        held=held,
        behind=behind,
        parked=parked,
        in_doubt={text: state.code for text, state in reported.items() if state.state == "in_doubt" and text in first},
        unasked=sum(text not in promised for text in first),
        recoveries=[(kill, _recovery_s(kill, accepted, first)) for kill in kills],
        misdirected=_compare(promised, received, _direction),
        altered=_compare(promised, received, _content),
        early=_compare(promised, received, _earliness),
        cancelled=[text for text in by_text if text in promised and promised[text].is_cancelled],
        misreported={
            message.text: why
            for message in accepted
            if (state := reported.get(message.text))
            and (why := _contradiction(message, state, by_text.get(message.text, []), statuses))
        },
        misremembered={
            message.text: why
            for message in accepted
            if (state := reported.get(message.text))
            and state.history
            and (why := _broken_history(state, by_text.get(message.text, [])))
        },
    )


def _duplicated(
    promised: Mapping[str, AcceptedMessage],
    by_text: Mapping[str, Sequence[ProviderArrival]],
    reported: Mapping[str, ReportedState],
    attempts: int,
) -> dict[str, int]:
    found = {}
    for text, received in by_text.items():
        message = promised.get(text)
        refused = sum(arrival.is_refused for arrival in received)
        taken = len(received) - refused
        # a message that the provider refused afterwards may be sent once more for each redrive; without a response
        # there is no `message`: the request may have been carried out once
        allowed_refused = 1 + (message.redrives if message else 0)
        # a message that the provider claims to have refused may be sent again
        denied = sum(arrival.is_denied for arrival in received)
        allowed_taken = 1 + denied
        if message and message.policy == "resend" and (state := reported.get(text)) is not None:
            # the policy asks for a repetition at each doubt; `attempts` bounds their number
            doubts = sum(step.state == "in_doubt" for step in state.history)
            allowed_taken = min(1 + doubts + denied, attempts) if attempts else 1 + doubts + denied
        if taken > allowed_taken or refused > allowed_refused:
            found[text] = len(received)
    return found


def _reordered(promised: Mapping[str, AcceptedMessage], first: Iterable[ProviderArrival]) -> list[str]:
    highest: dict[str, int] = defaultdict(int)
    found = []
    # first arrivals only: a legitimate repetition does not change the order of the chat
    for arrival in sorted(first, key=lambda one: one.seq):
        message = promised.get(arrival.text)
        # a scheduled or redriven message may be overtaken
        if message is None or message.send_at is not None or message.redrives:
            continue
        if message.number < highest[message.chat]:
            found.append(message.text)
        highest[message.chat] = max(highest[message.chat], message.number)
    return found


def _compare(
    promised: Mapping[str, AcceptedMessage],
    received: Iterable[ProviderArrival],
    differ: Callable[[AcceptedMessage, ProviderArrival], str],
) -> dict[str, str]:
    """Return, by text, the first difference that `differ(message, arrival)` finds in a message's arrivals."""
    found: dict[str, str] = {}
    for arrival in received:
        message = promised.get(arrival.text)
        if message is not None and arrival.text not in found and (why := differ(message, arrival)):
            found[arrival.text] = why
    return found


def _direction(message: AcceptedMessage, arrival: ProviderArrival) -> str:
    if message.recipient and arrival.recipient not in ("", message.recipient):
        return f"to …{arrival.recipient[-4:]}, not …{message.recipient[-4:]}"
    if message.account and arrival.account != message.account:
        return f"from {arrival.account}, not {message.account}"
    return ""


def _content(message: AcceptedMessage, arrival: ProviderArrival) -> str:
    if message.content is None or arrival.content is None:
        return ""
    if arrival.type != message.type:
        return f"type {arrival.type}, not {message.type}"
    differing = [name for name, value in message.content.items() if arrival.content.get(name) != value]
    return f"differs in {', '.join(differing)}" if differing else ""


def _earliness(message: AcceptedMessage, arrival: ProviderArrival) -> str:
    if message.send_at is None or arrival.at >= message.send_at - _EARLY_S:
        return ""
    return f"{message.send_at - arrival.at:.1f} s before its time"


def _contradiction(
    message: AcceptedMessage,
    state: ReportedState,
    received: Sequence[ProviderArrival],
    statuses: Mapping[int, frozenset[str]] | None,
) -> str:
    """Return how the reported state contradicts the ledger; empty when it does not."""
    taken = [arrival for arrival in received if not arrival.is_refused]
    if message.is_cancelled:
        return "" if state.state == "deleted" or received else f"cancelled, and shown as {state.state}"
    if message.unsent_failures:
        return f"failed {message.unsent_failures} times after a redrive without having been sent"
    # without an arrival there can be no status: the state is unfounded
    if state.state in _LEFT and not received:
        return f"shown as {state.state}, never arrived"
    # the provider has it: an operator who redrives it because of this state would send it twice
    if state.state == "failed" and taken:
        return f"arrived, and shown as failed ({state.code})"
    # pages report no statuses by webhook: their arrivals are not in `statuses`
    if statuses is None or any(arrival.seq not in statuses for arrival in received):
        return ""
    return _unlike_statuses(state, received, statuses)


def _unlike_statuses(
    state: ReportedState, received: Sequence[ProviderArrival], statuses: Mapping[int, frozenset[str]]
) -> str:
    """Return how the reported state differs from the provider's delivered statuses."""
    taken = [arrival for arrival in received if not arrival.is_refused]
    proved = max((_RANK.get(status, 0) for arrival in taken for status in statuses[arrival.seq]), default=0)
    shown = _RANK.get(state.state, 0)
    # the last arrival decides: a message that was refused, redriven and then accepted is sent. But an earlier one that
    # the provider delivered, although it had answered with an error, outweighs the refusal of its repetition
    is_refused = bool(received) and received[-1].is_refused and "failed" in statuses[received[-1].seq] and not proved
    # a state in doubt may lag: reconciliation has its own time limit, which `settled` checks
    if proved > shown and state.state != "in_doubt":
        return f"the provider reported {_name(proved)}, shown as {state.state}"
    # the response proves `sent`; only `delivered` and `read` need a status
    if shown > 1 and proved < shown and taken:
        return f"shown as {state.state}, the provider reported {_name(proved) or 'nothing'}"
    return f"the provider refused it, shown as {state.state}" if is_refused and state.state in _LEFT else ""


def _name(rank: int) -> str:
    return next((name for name, value in _RANK.items() if value == rank), "")


def _broken_history(state: ReportedState, received: Sequence[ProviderArrival]) -> str:
    """Return what is wrong with a history; empty when it agrees with the ledger and the reported state."""
    steps = state.history
    if steps[0].state != "queued":
        return f"begins with {steps[0].state}"
    begun = sum(step.state == "sending" for step in steps)
    # each arrival needs a claim in the history, or it was sent without a valid lease
    if len(received) > begun:
        return f"{len(received)} arrivals, {begun} attempts"
    failures = sum(step.state == "failed" and step.code != PARKED for step in steps)
    refusals = sum(arrival.is_refused for arrival in received)
    # only a refusal may fail a message: SEND_ATTEMPTS of our own installation is too high to be exhausted
    if failures > refusals:
        return f"{failures} failures, {refusals} refusals of the provider"
    repeated = [
        f"{name} twice in attempt {attempt}"
        for (name, attempt), count in Counter(
            (step.state, step.attempt) for step in steps if step.state == "delivered"
        ).items()
        if count > 1
    ]
    if repeated:
        return repeated[0]
    states = {step.state for step in steps}
    # a state and its entry in the history are written by one statement
    if state.state not in states:
        return f"shown as {state.state}, which its history does not contain"
    return ""


def _recovery_s(kill: SenderKill, accepted: Sequence[AcceptedMessage], first: Mapping[str, ProviderArrival]) -> float:
    """Return for how long after the kill earlier accepted messages were still arriving."""
    # scheduled messages are late by intention
    waiting = [
        first[message.text].at
        for message in accepted
        if message.accepted_at <= kill.at and message.text in first and message.send_at is None
    ]
    return max([0.0, *(at - kill.at for at in waiting)])
