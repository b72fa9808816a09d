"""The state machine: processes that claim, send, settle and die; a provider; webhooks in any order; reconciliation;
humans.

A model process is as much of a process as the row can see: an incarnation, a real in-flight journal, and what it has in
hand. Everything that touches a row is the product's own function over the product's own SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.clock import utc_now
from shared.delivery import reclaim as reclaiming
from shared.delivery.in_flight_journal import InFlightJournal, Stage, path_of
from shared.delivery.reconcile import Hold, decide
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Policy, Receipt, Retry, Sent
from shared.states import MESSAGE_TRANSITIONS, OPEN_MESSAGE_STATES, MessageState
from shared.store import interventions, messages
from tests.model.provider import Provider
from tests.store.env import StoreEnv

CHATS = ("a", "b", "c", "d", "e")
ATTEMPTS = 3
IN_HAND = 4
WINDOW_S = 10.0
SENDERS = st.integers(0, 1)
STEPS = st.tuples(
    st.integers(0, 3), st.sampled_from(["on", "on", "on", "on", "settled", "lost", "refused", "dead", "uncounted"])
)
"""One step: of which send in hand, and what happens in it."""

Look = Callable[[str], Sequence[Mapping[str, Any]]]
"""Runs one statement and returns its rows: the model's own eyes, beside the product's functions."""
Step = Literal["claimed", "writing", "taken", "refused", "answered"]


@dataclass
class Send:
    """One message in a process's hand: how far it has come, and what the provider answered, if it has."""

    message: OutboundMessage
    step: Step = "claimed"
    provider_id: str = ""
    outcome: Outcome | None = None


@dataclass
class Process:
    """One life of a sender."""

    incarnation: str
    flights: InFlightJournal
    sends: dict[int, Send] = field(default_factory=dict)


def reachable(old: MessageState) -> set[MessageState]:
    """Return the states that a row may be in later, by the table of transitions."""
    found, new = {old}, {old}
    while new:
        new = set().union(*(MESSAGE_TRANSITIONS[state] for state in new)) - found
        found |= new
    return found


class Life(RuleBasedStateMachine):
    """Rows of a few chats, two senders at a time."""

    def __init__(self, env: StoreEnv, look: Look, run_dir: Path) -> None:
        super().__init__()
        self.env, self.store, self.look, self.run_dir = env, env.store, look, run_dir
        self.provider = Provider()
        self.lives = 0
        self.living: list[Process] = []
        self.dead: list[Process] = []
        self.reclaimed: list[Process] = []
        self.rows: list[int] = []
        self.keys: dict[str, int] = {}
        self.seen: dict[int, MessageState] = {}
        self.resent: set[int] = set()
        self.redriven: set[int] = set()

    @initialize()
    def begin(self) -> None:
        """An empty table and two senders."""
        self.look("DELETE FROM messages")
        self.living = [self.born(), self.born()]

    def born(self) -> Process:
        self.lives += 1
        incarnation = f"meta-{self.lives % 2}.{self.lives:x}"
        return Process(incarnation, InFlightJournal(path_of(self.run_dir, incarnation), IN_HAND).open())

    # --- accept ---

    @rule(chats=st.lists(st.sampled_from(CHATS), min_size=2, max_size=8))
    def accept(self, chats: list[str]) -> None:
        """A batch of requests is committed."""
        self.rows += self.env.accept(*chats)

    @rule(key=st.sampled_from(["k1", "k2", "k3"]), chat=st.sampled_from(CHATS))
    def accept_with_key(self, key: str, chat: str) -> None:
        """A client sends a request, perhaps again: the same key is the same row for ever."""
        (accepted,) = self.env.accepted([self.env.message(f"{chat}", idempotency_key=key)])
        if key in self.keys:
            assert accepted.replayed
            assert accepted.id == self.keys[key]
        else:
            assert not accepted.replayed
            self.keys[key] = accepted.id
            self.rows.append(accepted.id)

    # --- a sender's steps ---

    @rule(
        which=SENDERS,
        by=st.sampled_from(["hints", "chats", "both"]),
        hinted=st.sets(st.integers(0, 30), max_size=4),
        steps=st.lists(STEPS, max_size=8),
    )
    def claim(self, which: int, by: str, hinted: set[int], steps: list[tuple[int, str]]) -> None:
        """A sender looks at hinted rows, at the heads of chats, or both, and goes some way with what it got."""
        process = self.living[which]
        rows = self.rows if by == "both" else [self.rows[place] for place in sorted(hinted) if place < len(self.rows)]
        for message in self.claimed(process, rows if by != "chats" else [], chats=by != "hints"):
            process.flights.begin(message.id)
            process.sends[message.id] = Send(message)
        self.go_on(which, steps)

    @rule(which=SENDERS)
    def claim_and_die(self, which: int) -> None:
        """A sender dies when its claim is committed and its in-flight journal does not know of it yet."""
        self.claimed(self.living[which], self.rows, chats=True)
        self.kill(which)

    def claimed(self, process: Process, rows: Sequence[int], *, chats: bool) -> list[OutboundMessage]:
        busy = {send.message.chat_id for send in process.sends.values()}
        return self.store.run(
            messages.claim,
            kind="meta",
            incarnation=process.incarnation,
            ids=[row_id for row_id in rows if row_id not in process.sends],
            chats=[(self.env.connection, chat) for chat in CHATS if chat not in busy] if chats else [],
            most=IN_HAND - len(process.sends),
            token_at_claim=True,
        )

    @rule(which=SENDERS, steps=st.lists(STEPS, min_size=1, max_size=8))
    def go_on(self, which: int, steps: list[tuple[int, str]]) -> None:
        """Sends get on: to the point where the request may leave, to the provider, back with an answer or without one,
        into the database.
        """
        process = self.living[which]
        for pick, turn in steps:
            if turn == "settled":
                self.settle(which, answer_lost=pick == 0)
            elif able := [send for _, send in sorted(process.sends.items()) if send.step != "answered"]:
                self.advance(process, able[pick % len(able)], turn)

    def advance(self, process: Process, send: Send, turn: str) -> None:
        """One step of one send. `turn` says what happens where more than one thing can."""
        row_id, token = send.message.id, send.message.token
        match send.step:
            case "claimed":
                process.flights.writing(row_id)
                send.step = "writing"
            case "writing" if turn == "lost":
                send.outcome, send.step = InDoubt(code="no_answer"), "answered"
            case "writing" if turn in ("refused", "dead", "uncounted"):
                send.step = "refused"
            case "writing":
                send.provider_id, send.step = self.provider.take(row_id, token), "taken"
            case "taken" | "refused" if turn == "lost":
                send.outcome, send.step = InDoubt(code="no_answer"), "answered"
            case "taken":
                send.outcome, send.step = Sent(provider_id=send.provider_id), "answered"
            case "refused" if turn == "dead":
                send.outcome, send.step = Dead(code="131026"), "answered"
            case "refused":
                send.outcome, send.step = Retry(code="131000", after_s=0.0, counts=turn != "uncounted"), "answered"
        self.note(process, send)

    @staticmethod
    def note(process: Process, send: Send) -> None:
        """As the dispatcher keeps an outcome."""
        match send.outcome:
            case None:
                return
            case Sent(provider_id=provider_id):
                process.flights.answered(send.message.id, Stage.SENT, provider_id)
            case Retry(code=code):
                process.flights.answered(send.message.id, Stage.UNSENT, code)
            case Dead(code=code):
                process.flights.answered(send.message.id, Stage.DEAD, code)

    def settle(self, which: int, answer_lost: bool) -> None:
        """A sender writes its outcomes; if the answer to the commit is lost, it writes them again."""
        process = self.living[which]
        done = [send for send in process.sends.values() if send.step == "answered" and send.outcome is not None]
        settlements = [
            messages.settlement(send.message, send.outcome, attempts=ATTEMPTS, wait_s=0.0)
            for send in done
            if send.outcome is not None
        ]
        self.store.run(messages.settle, incarnation=process.incarnation, settlements=settlements)
        if answer_lost:
            assert not self.store.run(messages.settle, incarnation=process.incarnation, settlements=settlements)
        for send in done:
            process.flights.end(send.message.id)
            del process.sends[send.message.id]

    # --- death ---

    @rule(which=SENDERS, claims=st.booleans(), steps=st.lists(STEPS, max_size=6), active=st.none() | st.integers(0, 3))
    def die(self, which: int, claims: bool, steps: list[tuple[int, str]], active: int | None) -> None:
        """A sender takes rows, or not, goes some way with them, and dies; perhaps while the code of one row runs. The
        next life begins.
        """
        if claims:
            self.claim(which, "both", set(), steps)
        else:
            self.go_on(which, steps)
        process = self.living[which]
        in_hand = sorted(process.sends)
        if active is not None and in_hand:
            process.flights.set_active(in_hand[active % len(in_hand)])
        self.kill(which)

    def kill(self, which: int) -> None:
        """kill -9: what the record says now is all that is left."""
        process = self.living[which]
        process.flights.close(remove=False)
        self.dead.append(process)
        self.living[which] = self.born()

    @precondition(lambda self: self.dead)
    @rule(pick=st.integers(0, 9), twice=st.booleans())
    def reclaim(self, pick: int, twice: bool) -> None:
        """Proof of a death arrives; perhaps from two sides."""
        process = self.dead.pop(pick % len(self.dead))
        self.store.run(reclaiming.reclaim, self.run_dir, process.incarnation, why="model")
        if twice:
            assert not self.store.run(reclaiming.reclaim, self.run_dir, process.incarnation, why="model")
        reclaiming.forget(self.run_dir, process.incarnation)
        self.reclaimed.append(process)

    @precondition(lambda self: any(process.sends for process in self.reclaimed))
    @rule(pick=st.integers(0, 9))
    def late_write(self, pick: int) -> None:
        """A process that counted as dead was only slow: nothing that it writes now may count."""
        process = [one for one in self.reclaimed if one.sends][pick % len([one for one in self.reclaimed if one.sends])]
        before = self.states()
        settlements = [
            messages.settlement(send.message, Sent(provider_id="late"), attempts=ATTEMPTS, wait_s=0.0)
            for send in process.sends.values()
        ]
        assert not self.store.run(messages.settle, incarnation=process.incarnation, settlements=settlements)
        for send in process.sends.values():
            assert not self.store.run(
                messages.record_token, message_id=send.message.id, incarnation=process.incarnation, token="late"
            )
        assert self.states() == before

    # --- the provider speaks ---

    @precondition(lambda self: self.provider.tokens)
    @rule(
        picks=st.lists(
            st.tuples(st.integers(0, 30), st.sampled_from(["sent", "delivered", "read"])), min_size=1, max_size=4
        )
    )
    def webhook(self, picks: list[tuple[int, str]]) -> None:
        """Statuses of taken messages: any of them, in any order, twice."""
        self.receive(
            [(self.provider.tokens[place % len(self.provider.tokens)], MessageState(word)) for place, word in picks]
        )

    @precondition(lambda self: self.provider.tokens)
    @rule(pick=st.integers(0, 30))
    def webhook_failed(self, pick: int) -> None:
        """The provider took a message and gives it up later."""
        token, row_id = self.provider.tokens[pick % len(self.provider.tokens)]
        self.provider.refused_later.add(row_id)
        self.receive([((token, row_id), MessageState.FAILED)])

    def receive(self, updates: list[tuple[tuple[str, int], MessageState]]) -> None:
        receipts = [
            Receipt(
                connection_id=self.env.connection,
                state=state,
                at=utc_now(),
                token=token,
                code="131026" if state is MessageState.FAILED else "",
            )
            for (token, _), state in updates
        ]
        assert all(self.env.receipts(*receipts)), "a status of ours found no row"

    # --- reconciliation and humans ---

    @rule(policy=st.sampled_from(["auto", "auto", "auto", "resend", "hold"]), sees=st.booleans(), waited=st.booleans())
    def reconcile(self, policy: Policy, sees: bool, waited: bool) -> None:
        """Doubts are looked at: with evidence, which is always true, or without; within the window or after it."""
        for doubt in self.store.run(messages.in_doubt, kind="meta", most=100):
            found: Outcome | None = None
            if sees:
                found = (
                    Sent(provider_id="seen")
                    if self.provider.knows(doubt.message.token)
                    else Retry(code="not_sent", after_s=0.0, counts=False)
                )
            decision = decide(found, policy=policy, doubt_s=WINDOW_S if waited else 0.0, window_s=WINDOW_S)
            fields: dict[str, Any] = {
                "message_id": doubt.message.id,
                "attempt": doubt.message.attempt,
                "incarnation": "model",
            }
            if decision is None:
                continue
            if isinstance(decision, Hold):
                assert self.store.run(messages.hold, code=decision.code, **fields)
                continue
            if decision.code == "policy_resend":
                self.resent.add(doubt.message.id)
            assert self.store.run(
                messages.resolve, state=decision.state, code=decision.code, provider_id=decision.provider_id, **fields
            )

    @rule(pick=st.integers(0, 30), says=st.sampled_from(["sent", "resend", "failed"]))
    def human_decides(self, pick: int, says: interventions.Resolution) -> None:
        """A human decides about a message that was left to one; what it has sent again is its to answer for."""
        held = [row for row in self.table() if row["held_at"]]
        if not held:
            return
        row = held[pick % len(held)]
        assert self.store.run(
            interventions.resolve, company_id="acme", chat_id=row["chat_id"], message_id=row["id"], resolution=says
        )
        self.resent.add(row["id"])

    @rule()
    def human_redrives(self) -> None:
        """Dead letters are tried again."""
        self.redriven.update(self.store.run(interventions.redrive, company_id="acme"))

    # --- what always holds ---

    def table(self) -> Sequence[Mapping[str, Any]]:
        """Return every row."""
        return self.look("SELECT id, chat_id, state, incarnation, held_at FROM messages ORDER BY id")

    def states(self) -> dict[int, MessageState]:
        return {row["id"]: MessageState(row["state"]) for row in self.table()}

    @invariant()
    def promises_are_kept(self) -> None:
        """One look at the table, and everything that must be true of it."""
        rows = self.table()
        self.one_sender_and_one_open_head(rows)
        self.never_backwards(rows)
        self.sent_at_most_once_and_in_order(rows)

    def one_sender_and_one_open_head(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A row that is being sent is in exactly one hand, and in a chat only one row is under way: the first open
        one.
        """
        incarnations = {process.incarnation for process in [*self.living, *self.dead]}
        under_way: dict[str, int] = {}
        for row in rows:
            if row["state"] not in (MessageState.SENDING, MessageState.IN_DOUBT):
                continue
            assert row["chat_id"] not in under_way, (
                f"two rows of a chat are under way: {under_way[row['chat_id']]}, {row['id']}"
            )
            under_way[row["chat_id"]] = row["id"]
            if row["state"] == MessageState.SENDING:
                assert row["incarnation"] in incarnations, f"nobody has row {row['id']} in hand"
        for row in rows:
            ahead = under_way.get(row["chat_id"])
            if row["state"] == MessageState.QUEUED and ahead is not None and row["id"] < ahead:
                # what a human redrove takes its old place, ahead of what went on meanwhile
                assert row["id"] in self.redriven, f"row {ahead} went ahead of {row['id']}"

    def never_backwards(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Each row moves only along the table of transitions, and what was sent, delivered or read never looks less."""
        order = {MessageState.SENT: 0, MessageState.DELIVERED: 1, MessageState.READ: 2}
        for row in rows:
            old, state = self.seen.get(row["id"], MessageState.QUEUED), MessageState(row["state"])
            assert state in reachable(old), f"row {row['id']}: {old} -> {state}"
            assert old not in order or order.get(state, 3) >= order[old], f"row {row['id']}: {old} -> {state}"
            self.seen[row["id"]] = state
        assert [row["id"] for row in rows] == self.rows, "a row came or went by itself"

    def sent_at_most_once_and_in_order(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The provider took no row twice and each chat in order, but for what a policy or a human had sent again; what
        counts as sent was taken.
        """
        excused = self.resent | self.redriven
        twice = {row_id for row_id, times in self.provider.taken.items() if times > 1}
        assert twice <= excused, f"taken twice: {twice - excused}"
        for chat in CHATS:
            ours = {row["id"] for row in rows if row["chat_id"] == chat} - excused
            taken = [row_id for _, row_id in self.provider.tokens if row_id in ours]
            assert taken == sorted(taken), f"chat {chat} out of order: {taken}"
        for row in rows:
            if row["state"] in (MessageState.SENT, MessageState.DELIVERED, MessageState.READ):
                assert row["id"] in self.provider.taken or row["id"] in self.resent, f"row {row['id']} was never taken"

    # --- the end ---

    def teardown(self) -> None:
        """Every process dies; then one process, a provider that takes everything, and reconciliation that sees: every
        row ends, or is held for a human.
        """
        for which in range(len(self.living)):
            self.kill(which)
        while self.dead:
            self.reclaim(0, twice=True)
        for _ in range(3 * len(self.rows) + 3):
            self.reconcile("auto", sees=True, waited=True)
            open_rows = [row_id for row_id, state in self.states().items() if state is MessageState.QUEUED]
            if not open_rows:
                break
            self.claim(0, "both", set(), [(place, "on") for place in range(IN_HAND)] * 4 + [(1, "settled")])
            self.promises_are_kept()
        rows = self.table()
        held = {row["chat_id"] for row in rows if row["held_at"]}
        left = {
            row["id"]: row["state"]
            for row in rows
            if row["state"] in OPEN_MESSAGE_STATES and row["chat_id"] not in held
        }
        assert not left, f"neither ended nor held: {left}"
        for process in self.living:
            process.flights.close(remove=True)
