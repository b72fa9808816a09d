"""One run: load and faults side by side, then peace, then the result."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.fault_actions import FaultInjector
from chaos.installation import Installation, NeverHappened
from chaos.judge import Accepted, Arrival, ReportedState, Result, arrivals_of, judge
from chaos.load import Chat, Load
from chaos.plans import AT_PROVIDER, Step
from shared.clock import left, monotonic
from shared.fail_points import LOG_NAME
from shared.process import runtime

QUIET_S: Final = 0.5
_OPEN: Final = frozenset({"queued", "sending", "in_doubt"})
_PAGE: Final = 200
_READERS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: what it does, and its counts."""

    doing: str
    elapsed_s: float
    faults: int
    planned: int
    asked: int
    accepted: int
    arrived: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        again: requests that had to be made again, by why.
        done, left_out: faults by name. at_provider: sends and webhooks that a fault of the provider befell, by its name there.
        crash_points: those that went off, with how often. settled: whether all that was accepted came to an end before the deadline. settle_s: seconds
            from the last fault until then.
    """

    result: Result
    seconds: float
    asked: int
    again: Mapping[str, int]
    done: Mapping[str, int]
    left_out: Mapping[str, int]
    at_provider: Mapping[str, int]
    crash_points: Mapping[str, int]
    settled: bool
    settle_s: float

    @property
    def faults(self) -> int:
        """How many faults there were: of the provider's each send and each webhook that was befallen, of all others each that was done."""
        steps = sum(count for name, count in self.done.items() if name not in AT_PROVIDER)
        return steps + sum(self.at_provider.values()) + sum(self.crash_points.values())


@dataclass
class LedgerReader:
    """Follows the ledger's file and keeps the arrivals of one run, and what befell sends and webhooks since it began (seconds since 1970)."""

    installation: Installation
    mark: str
    began_at: float = field(default_factory=time.time)
    arrivals: list[Arrival] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    texts: set[str] = field(default_factory=set)
    _offset: int = 0

    def read(self) -> None:
        """Read what is new."""
        entries = []
        for entry in self.installation.ledger(self._offset):
            self._offset = entry["end"]
            entries.append(entry)
        self.faults.update(entry["fault"] for entry in entries if entry.get("fault") and entry["at"] >= self.began_at)
        new = arrivals_of(entries, self.mark)
        self.arrivals += new
        self.texts.update(arrival.text for arrival in new)


class Run:
    """Runs load and faults against one installation.

    Args:
        steps: the faults. load: the client. seed: for what the schedule leaves open. settle_s: how long everything may take to come to an end after
            the last fault. show: told how far it is, about four times a second.
    """

    def __init__(
        self,
        installation: Installation,
        load: Load,
        steps: Sequence[Step],
        *,
        mark: str,
        seed: int = 0,
        settle_s: float = 120.0,
        show: Callable[[Progress], None] = lambda _: None,
        lead_s: float = 1.0,
        tail_s: float = 2.0,
    ) -> None:
        self._installation, self._load, self._steps, self._settle_s, self._show = (
            installation,
            load,
            steps,
            settle_s,
            show,
        )
        self._lead_s, self._tail_s = lead_s, tail_s
        self.injector = FaultInjector(installation, seed)
        self._ledger = LedgerReader(installation, mark)
        # more at once would only wait for each other, on a slow machine beyond the time limit of a call
        self._readers = asyncio.Semaphore(_READERS)
        self._doing = "load"
        self._began = monotonic()

    async def run(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> Outcome:
        """Run it.

        Args:
            meanwhile: runs beside the load, after the scheduled faults; the load goes on until it returns.
        Raises:
            ClientWronged: the API refused what it must not refuse.
        """
        self._began = monotonic()
        watching = asyncio.create_task(self._watch())
        try:
            self._load.start()
            await asyncio.sleep(self._lead_s)
            self._doing = "faults"
            await self._break()
            if meanwhile is not None:
                await meanwhile()
            self.injector.thaw()
            await self._heal()
            await asyncio.sleep(self._tail_s)
            self._doing = "last answers"
            await asyncio.wait_for(self._load.stop(), self._settle_s)
            self._doing = "settling"
            healed = monotonic()
            reported, settled = await self._settle(healed + self._settle_s)
            settle_s = monotonic() - healed
        finally:
            self.injector.thaw()
            await self._load.cancel()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        self._ledger.read()
        return Outcome(
            result=judge(self._load.accepted, self._ledger.arrivals, reported, self.injector.kills),
            seconds=monotonic() - self._began,
            asked=self._load.asked,
            again=self._load.reasons,
            done=self.injector.done,
            left_out=self.injector.left_out,
            at_provider=dict(self._ledger.faults),
            crash_points=crash_points_of(self._installation),
            settled=settled,
            settle_s=settle_s,
        )

    async def _break(self) -> None:
        """Do every step at its time; one that lasts does not hold up the next."""
        began = monotonic()
        async with asyncio.TaskGroup() as under_way:
            for step in self._steps:
                await asyncio.sleep(left(began + step.at_s))
                self._load.raise_if_failed()
                under_way.create_task(self.injector.do(step))

    async def _heal(self) -> None:
        """End what would go on by itself: armed faults of the provider."""
        by = monotonic() + self._settle_s
        while (answer := await self._installation.sandbox("DELETE", "faults")) is None or answer.status != 200:
            if left(by) <= 0:
                raise NeverHappened("the provider came back")
            await asyncio.sleep(QUIET_S)

    async def _settle(self, by: float) -> tuple[dict[str, ReportedState], bool]:
        """Wait until nothing is open any more, apart from what is held for a human and what waits behind it."""
        while True:
            self._ledger.read()
            reported = await self._standings()
            if reported is not None:
                held = {
                    message.chat for message in self._load.accepted if (one := reported.get(message.text)) and one.held
                }
                open_now = [
                    message
                    for message in self._load.accepted
                    if message.text in reported and reported[message.text].state in _OPEN
                ]
                if all(message.chat in held for message in open_now):
                    return reported, True
                if left(by) <= 0:
                    return reported, False
            elif left(by) <= 0:
                return {}, False
            await asyncio.sleep(QUIET_S)

    async def _standings(self) -> dict[str, ReportedState] | None:
        """Return what Bulkhead says about every message of this run; None when it cannot be asked now."""
        states: dict[str, str] = {}
        codes: dict[str, str] = {}
        for pages in await asyncio.gather(*(self._chat(chat) for chat in self._load.chats)):
            if pages is None:
                return None
            states |= {entry["id"]: entry["status"] for entry in pages}
            codes |= {entry["id"]: entry["errorCode"] or "" for entry in pages}
        held = await asyncio.gather(
            *(self._is_held(message) for message in self._load.accepted if states.get(message.id) == "in_doubt")
        )
        holders = {message_id for message_id in held if message_id}
        return {
            message.text: ReportedState(state=states[message.id], code=codes[message.id], held=message.id in holders)
            for message in self._load.accepted
            if message.id in states
        }

    async def _chat(self, chat: Chat) -> list[dict[str, Any]] | None:
        """Return every message of a chat as the API lists it, None when it does not answer."""
        async with self._readers:
            return await self._pages(chat)

    async def _pages(self, chat: Chat) -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = await self._installation.api(
                "GET", self._load.path(chat) + f"?limit={_PAGE}" + (f"&cursor={cursor}" if cursor else "")
            )
            if answer is None or answer.status != 200:
                return None
            found += answer.body["messages"]
            cursor = answer.body["next"] or ""
            if not cursor:
                return found

    async def _is_held(self, message: Accepted) -> str:
        """Return the message's id if it is left to a human, else nothing."""
        chat = next(chat for chat in self._load.chats if chat.name == message.chat)
        answer = await self._installation.api("GET", self._load.path(chat, message.id))
        return message.id if answer is not None and answer.status == 200 and answer.body["heldForHumanAt"] else ""

    async def _watch(self) -> None:
        while True:
            self._ledger.read()
            self._show(
                Progress(
                    doing=self._doing,
                    elapsed_s=monotonic() - self._began,
                    faults=sum(self.injector.done.values()) + sum(self.injector.left_out.values()),
                    planned=len(self._steps),
                    asked=self._load.asked,
                    accepted=len(self._load.accepted),
                    arrived=len(self._ledger.texts),
                )
            )
            await asyncio.sleep(0.25)


def crash_points_of(installation: Installation) -> dict[str, int]:
    """Return the crash points that went off in an installation's home, with how often."""
    try:
        lines = (runtime.run_dir(installation.home) / LOG_NAME).read_text(encoding="ascii").split()
    except FileNotFoundError:
        return {}
    return {name: lines.count(name) for name in sorted(set(lines))}


def new_mark() -> str:
    """Return a word for one run that no other run has: texts and keys begin with it."""
    return f"chaos-{time.time_ns():x}"
