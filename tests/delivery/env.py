"""A dispatcher over a real database, with a channel that does what a test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import uvloop
from psycopg2 import OperationalError

from shared.delivery.breaker import Breaker
from shared.delivery.channel import RecordToken
from shared.delivery.dispatcher import Dispatcher
from shared.delivery.in_flight_journal import InFlightJournal, path_of
from shared.delivery.reconcile import Reconciler
from shared.delivery.relay import Relay
from shared.delivery.webhook_outages import WebhookOutages
from shared.messages import OutboundMessage, Outcome, Sent
from shared.process.metrics import Metrics
from shared.store.messages import Doubt
from shared.store.store import Store
from tests.store.env import StoreEnv, open_store
from tests.support.database import query
from tests.support.waiting import eventually_async, within

_T = TypeVar("_T")
Behaviour = Callable[[OutboundMessage, RecordToken], Awaitable[Outcome]]

SOON_S = 15.0
SCENARIO_S = 90.0
"""Longest scenario: below pytest's limit of a test."""


def run(scenario: Coroutine[Any, Any, _T]) -> _T:
    """Run a scenario on uvloop, as the product does. It fails when an error was not awaited, and when it does not end:
    a signal of pytest's own limit does not reach a test whose loop waits.
    """

    async def watched() -> _T:
        forgotten: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(context))
        result = await within(scenario, SCENARIO_S)
        assert not forgotten, forgotten
        return result

    return uvloop.run(watched())


async def soon(condition: Callable[[], object], what: str, within_s: float = SOON_S) -> None:
    """Wait until a condition about this process's own memory is true."""

    async def asked() -> object:
        return condition()

    await eventually_async(asked, within_s, what)


async def takes(message: OutboundMessage, _: RecordToken) -> Outcome:
    """Take every message at once."""
    return Sent(provider_id=f"p-{message.id}")


class Script:
    """A channel in memory: does what `behave` says, and remembers what it was asked.

    Attributes:
        asked: every send, in order. taken: row ids that the provider took, in order. in_flight, most_in_flight: sends
            at once, now and at most.
        found: what `look_up` answers, by row id.
    """

    def __init__(self, behave: Behaviour = takes, *, token_at_claim: bool = True) -> None:
        self.behave, self.token_at_claim = behave, token_at_claim
        self.asked: list[OutboundMessage] = []
        self.taken: list[int] = []
        self.in_flight = self.most_in_flight = 0
        self.found: dict[int, Outcome | Exception | None] = {}
        self.looked_up: list[Doubt] = []
        self._chats: Counter[tuple[int, str]] = Counter()

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """Do what the script says; two sends in one chat at once fail the test."""
        chat = (message.connection_id, message.chat_id)
        self.asked.append(message)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._chats[chat] += 1
        assert self._chats[chat] == 1, f"two sends at once in {chat}"
        try:
            outcome = await self.behave(message, record_token)
            if isinstance(outcome, Sent):
                self.taken.append(message.id)
            return outcome
        finally:
            self.in_flight -= 1
            self._chats[chat] -= 1

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """Answer from `found`."""
        self.looked_up.append(doubt)
        found = self.found.get(doubt.message.id)
        if isinstance(found, Exception):
            raise found
        return found

    def attempts(self, row_id: int) -> list[int]:
        """Return the attempt numbers that were sent of one row."""
        return [message.attempt for message in self.asked if message.id == row_id]


class Process:
    """What one sending process has: store, dispatcher, relay, reconciler. Use with `async with`.

    Attributes:
        store: its own. dispatcher, relay, reconciler: see there; only the dispatcher is started. run_dir: where its
            in-flight journal is.
    """

    def __init__(
        self,
        env: StoreEnv,
        channel: Script,
        incarnation: str = "meta-0.a",
        *,
        store: Store | None = None,
        in_flight: int = 50,
        each: int = 0,
        send_s: float = 5.0,
        attempts: int = 3,
        retry_base_s: float = 0.05,
        policy: Any = "auto",
        window_s: float = 0.0,
        breaker: Breaker | None = None,
        lease_covers: Callable[[float], bool] = lambda _for_s: True,
    ) -> None:
        self.env, self.channel, self.incarnation = env, channel, incarnation
        self.store = store or open_store(env.url, name=incarnation)
        metrics = self.metrics = Metrics()
        self._directory = TemporaryDirectory()
        self.run_dir = Path(self._directory.name)
        self.flights = InFlightJournal(path_of(self.run_dir, incarnation), in_flight).open()
        self.dispatcher = Dispatcher(
            self.store,
            channel,
            metrics,
            self.flights,
            kind="meta",
            incarnation=incarnation,
            in_flight=in_flight,
            each=each,
            send_s=send_s,
            attempts=attempts,
            retry_base_s=retry_base_s,
            breaker=breaker,
            lease_covers=lease_covers,
        )
        self.relay = Relay(self.store, self.dispatcher, metrics, kind="meta")
        self.reconciler = Reconciler(
            self.store,
            channel,
            metrics,
            kind="meta",
            incarnation=incarnation,
            host="here",
            policy=policy,
            window_s=window_s,
            attempts=attempts,
            outages=WebhookOutages(self.run_dir / "meta.webhook-outages"),
            requeued=self.dispatcher.offer,
        )

    async def __aenter__(self) -> Process:
        self.dispatcher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        failed = [task for task in self.dispatcher.loops() if task.done() and not task.cancelled() and task.exception()]
        await self.dispatcher.close()
        self.store.close()
        self.flights.close(remove=True)
        self._directory.cleanup()
        assert not failed, failed

    async def until(self, row_ids: Iterable[int], *states: str, within_s: float = SOON_S) -> None:
        """Wait until each of these rows is in one of these states."""
        ids = list(row_ids)

        async def there() -> bool:
            try:
                rows = await asyncio.to_thread(
                    query, self.env.url, "SELECT state FROM messages WHERE id = ANY(%(ids)s)", ids=ids
                )
            except OperationalError:
                return False  # the test has taken the database away
            return all(row["state"] in states for row in rows)

        await eventually_async(there, within_s, f"rows are {states}", poll_s=0.02)

    async def state(self, row_id: int) -> str:
        """Return a row's state."""
        return await asyncio.to_thread(self.env.state, row_id)


class Gate:
    """Holds sends back until the test lets them go."""

    def __init__(self, then: Behaviour = takes) -> None:
        self._open, self._then = asyncio.Event(), then

    async def __call__(self, message: OutboundMessage, record_token: RecordToken) -> Outcome:
        await self._open.wait()
        return await self._then(message, record_token)

    def open(self) -> None:
        """Let all go."""
        self._open.set()


async def cancelled(task: asyncio.Task[Any]) -> None:
    """End a task and wait for it."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


Answers = dict[int, list[Outcome]]


def answering(answers: Answers) -> Script:
    """Return a channel that gives a row's answers one after the other, and takes it then."""

    async def behave(message: OutboundMessage, _: object) -> Outcome:
        left = answers.get(message.id)
        return left.pop(0) if left else Sent(provider_id=f"p-{message.id}")

    return Script(behave)
