"""One run: load and faults at the same time, then calm, then the result."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chaos.api_view import ApiView
from chaos.doors import Doors
from chaos.fault_actions import FaultInjector
from chaos.follow_up import FollowUp
from chaos.hook_judge import HookResult
from chaos.hosts import Hosts
from chaos.installation import ChaosInstallation, NeverHappened
from chaos.judge import PARKED, AcceptedMessage, ReportedState, RunResult, judge
from chaos.ledger import LedgerReader
from chaos.load import ChaosLoad
from chaos.outsiders import Outsiders
from chaos.plans import AT_PROVIDER, PlanStep
from chaos.subscribers import Subscribers
from shared.clock import left, monotonic
from shared.fail_points import LOG_NAME
from shared.process import runtime

QUIET_S: Final = 0.5
"""Polling interval in seconds while a run settles; each poll lists every chat by the API."""
_OPEN: Final = frozenset({"queued", "sending", "in_doubt"})
"""States that are not final."""
_STATUSES_S: Final = 20.0
"""Seconds after the provider's last update within which every delivered status must be visible."""
_USUAL: Final = frozenset({"sent", "delivered", "read"})
"""Final states of messages with a usual course."""
_HISTORIES: Final = 2_000
"""Most histories to read beside those that decide a verdict: one call each."""
_SAMPLE: Final = 200
"""Histories of messages with a usual course to read."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run's present activity and counts."""

    doing: str
    elapsed_s: float
    faults: int
    planned: int
    asked: int
    accepted: int
    arrived: int


@dataclass(frozen=True, kw_only=True)
class HostsResult:
    """The result of further hosts; see `Hosts`."""

    reclaimed_s: Sequence[float]
    held: int
    kept: int
    moved_s: Sequence[float]
    fenced: int

    @classmethod
    def of(cls, hosts: Hosts) -> HostsResult:
        """Return the result of a run's hosts."""
        return cls(
            reclaimed_s=tuple(hosts.reclaimed_s),
            held=hosts.held,
            kept=hosts.kept,
            moved_s=tuple(hosts.moved_s),
            fenced=hosts.fenced,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        again: repeated requests, by reason.
        done, left_out: faults by name. at_provider: sends and webhooks that a fault of the provider affected, by its
            name there.
        at_subscribers: bad answers of subscribers of webhooks, by name. hooks: what subscribers received; None: there
            were none. hosts: of further hosts; None: there were none.
        crash_points: those that fired, with how often. followed_up: decisions of the operator, see `FollowUp`. settled:
            whether every accepted message reached a final state before the deadline, and every subscriber had its
            events. settle_s: seconds from the last fault until then.
    """

    result: RunResult
    seconds: float
    asked: int
    again: Mapping[str, int]
    done: Mapping[str, int]
    left_out: Mapping[str, int]
    at_provider: Mapping[str, int]
    crash_points: Mapping[str, int]
    settled: bool
    settle_s: float
    followed_up: Mapping[str, int] = field(default_factory=dict)
    reported: Mapping[str, ReportedState] = field(default_factory=dict)
    at_subscribers: Mapping[str, int] = field(default_factory=dict)
    hooks: HookResult | None = None
    hosts: HostsResult | None = None

    @property
    def faults(self) -> int:
        """Number of faults: for the provider's, the affected sends and webhooks; for subscribers, their bad answers;
        for the others, how often they were carried out.
        """
        steps = sum(count for name, count in self.done.items() if name not in AT_PROVIDER)
        return steps + sum(
            sum(counts.values()) for counts in (self.at_provider, self.at_subscribers, self.crash_points)
        )

    @property
    def is_clean(self) -> bool:
        """Whether every guarantee was kept."""
        return self.result.is_clean and (self.hooks is None or self.hooks.is_clean)


class Run:
    """Executes load and faults against one installation.

    Args:
        steps: the faults. load: the client. subscribers: of webhooks, subscribed; hosts: further ones; None: there are
            none. seed: for what the schedule leaves open. settle_s: longest time in seconds until every message is in a
            final state after the last fault. show: called with the progress, about four times a second.
    """

    def __init__(
        self,
        installation: ChaosInstallation,
        load: ChaosLoad,
        steps: Sequence[PlanStep],
        *,
        mark: str,
        subscribers: Subscribers | None = None,
        hosts: Hosts | None = None,
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
        self._lead_s, self._tail_s, self._subscribers, self._hosts = lead_s, tail_s, subscribers, hosts
        self._ledger = LedgerReader(installation, mark, load.names)
        self._follow_up = FollowUp(installation, load, self._ledger)
        outsiders = Outsiders(installation, load, self._ledger, self._follow_up, seed)
        doors = Doors(installation, load, self._ledger, seed)
        self.injector = FaultInjector(installation, seed, outsiders, doors, subscribers=subscribers, hosts=hosts)
        self._view = ApiView(installation, load)
        self._doing = "load"
        self._began = monotonic()

    async def run(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> Outcome:
        """Run it.

        Args:
            meanwhile: runs after the scheduled faults; the load continues until it returns.
        Raises:
            ClientWronged: the API refused a correct request.
        """
        self._began = monotonic()
        # tasks of their own: both must continue while a step or the API hangs
        beside = [asyncio.create_task(self._watch()), asyncio.create_task(self._follow_up.run())]
        try:
            self._load.start()
            await asyncio.sleep(self._lead_s)
            self._doing = "faults"
            await self._break()
            if meanwhile is not None:
                await meanwhile()
            await self.injector.thaw()
            await self._heal()
            await asyncio.sleep(self._tail_s)
            self._doing = "last answers"
            await asyncio.wait_for(self._load.stop(), self._settle_s)
            self._doing = "settling"
            healed = monotonic()
            reported, settled = await self._settle(healed + self._settle_s)
            # with no await since: what the operator decides from now on is not in what was read
            self._follow_up.end()
            hooks = None
            if self._subscribers is not None:
                self._doing = "subscribers"
                self._subscribers.heal()
                arrived = self._at_provider(reported)
                settled = await self._subscribers.catch_up(arrived, healed + self._settle_s) and settled
                hooks = self._subscribers.judge(arrived)
            settle_s = monotonic() - healed
        finally:
            await self.injector.thaw()
            await self._load.cancel()
            for task in beside:
                task.cancel()
            ended = await asyncio.gather(*beside, return_exceptions=True)
        # cancellations are ours; anything else is a bug of this program and would make the result worthless
        if failed := [error for error in ended if isinstance(error, Exception)]:
            raise failed[0]
        self._ledger.read()
        return Outcome(
            result=self._judge(reported),
            reported=reported,
            seconds=monotonic() - self._began,
            asked=self._load.asked,
            again=self._load.reasons,
            done=self.injector.done,
            left_out=self.injector.left_out,
            at_provider=dict(self._ledger.faults),
            at_subscribers={} if self._subscribers is None else self._subscribers.bad_answers,
            hooks=hooks,
            hosts=None if self._hosts is None else HostsResult.of(self._hosts),
            crash_points=crash_points_of(self._installation),
            followed_up=dict(self._follow_up.done),
            settled=settled,
            settle_s=settle_s,
        )

    async def _break(self) -> None:
        """Carry out every step at its time; a long one does not delay the next."""
        began = monotonic()
        async with asyncio.TaskGroup() as under_way:
            for step in self._steps:
                await asyncio.sleep(left(began + step.at_s))
                self._load.raise_if_failed()
                # not awaited: a pause of six seconds must not shift the steps after it, or the seed would give another
                # run each time
                under_way.create_task(self.injector.do(step))

    async def _heal(self) -> None:
        """Disarm the provider's faults, which would continue by themselves."""
        by = monotonic() + self._settle_s
        # repeated, since the sandbox may just have been killed: that disarms its faults, but it must run to deliver the
        # rest
        while (answer := await self._installation.sandbox("DELETE", "faults")) is None or answer.status != 200:
            if left(by) <= 0:
                raise NeverHappened("the provider came back")
            await asyncio.sleep(QUIET_S)

    async def _settle(self, by: float) -> tuple[dict[str, ReportedState], bool]:
        """Wait until no message is open (except held ones and those behind them), the provider has nothing left to
        report, and every delivered status is visible.
        """
        statuses_by = by
        is_reported = False
        while True:
            # a message that is held until the operator decides must not change between two readings
            async with self._follow_up.paused():
                self._ledger.read()
                reported = await self._view.states()
                if reported is None or not self._is_over(reported):
                    # repeated messages have statuses of their own
                    is_reported = False
                elif not is_reported:
                    # checked only when all messages are in final states, and followed by another reading of the ledger
                    # and the API: a status that arrives between the two would be judged against an older state
                    is_reported = await self._has_reported_everything()
                    if is_reported:
                        continue
                else:
                    # set once, when the provider has nothing left to post: from then on only our processing can be late
                    statuses_by = min(statuses_by, monotonic() + _STATUSES_S)
                    if not self._judge(reported).misreported or left(statuses_by) <= 0:
                        judged = await self._view.with_histories(reported, self._worth_reading(reported), by)
                        return judged or reported, judged is not None
            if left(by) <= 0:
                return reported or {}, False
            await asyncio.sleep(QUIET_S)

    async def _has_reported_everything(self) -> bool:
        """Whether the provider has posted each update that it will ever post."""
        # since the newest entry: the call also counts arrivals, which takes seconds for a long ledger
        answer = await self._installation.sandbox("GET", f"summary?since={self._ledger.seq}")
        return answer is not None and answer.status == 200 and answer.body["webhooks_pending"] == 0

    def _is_over(self, reported: Mapping[str, ReportedState]) -> bool:
        # messages behind a held one stay open until a human decides; waiting for them would never end
        held = {message.chat for message in self._load.accepted if (one := reported.get(message.text)) and one.held}
        return all(
            message.chat in held
            for message in self._load.accepted
            if message.text in reported and _is_open(reported[message.text])
        )

    def _at_provider(self, reported: Mapping[str, ReportedState]) -> dict[str, set[int]]:
        """Return the ids of messages that are shown as sent, by company."""
        found: dict[str, set[int]] = {}
        for message in self._load.accepted:
            if (state := reported.get(message.text)) and state.state in _USUAL:
                found.setdefault(self._load.chat_named(message.chat).company, set()).add(int(message.id))
        return found

    def _worth_reading(self, reported: Mapping[str, ReportedState]) -> list[AcceptedMessage]:
        """Return the messages whose history is compared: all that arrived more than once, since their doubts decide
        whether they may have; as many as can be read with another unusual course; and a sample of the others.
        """
        arrived = Counter(arrival.text for arrival in self._ledger.received)
        repeated: list[AcceptedMessage] = []
        unusual: list[AcceptedMessage] = []
        usual: list[AcceptedMessage] = []
        for message in self._load.accepted:
            state = reported.get(message.text)
            if state is None:
                continue
            is_usual = (
                # any other had a retry, a redrive, a cancellation or a policy, where a history is most likely to be
                # wrong
                arrived[message.text] == 1
                and state.state in _USUAL
                and not (message.redrives or message.is_cancelled or message.send_at or message.policy)
            )
            (repeated if arrived[message.text] > 1 else usual if is_usual else unusual).append(message)
        return repeated + unusual[:_HISTORIES] + usual[: max(_SAMPLE, _HISTORIES - len(unusual))]

    def _judge(self, reported: Mapping[str, ReportedState]) -> RunResult:
        return judge(
            self._load.accepted,
            self._ledger.received,
            reported,
            self.injector.kills,
            statuses=self._ledger.statuses,
            attempts=self._installation.settings.send_attempts,
        )

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
                    arrived=len(self._ledger.times),
                )
            )
            await asyncio.sleep(0.25)


def _is_open(state: ReportedState) -> bool:
    # the operator queues failed messages again, except parked ones
    return state.state in _OPEN or (state.state == "failed" and state.code != PARKED)


def crash_points_of(installation: ChaosInstallation) -> dict[str, int]:
    """Return the crash points that fired in an installation's home, with how often."""
    try:
        lines = (runtime.run_dir(installation.home) / LOG_NAME).read_text(encoding="ascii").split()
    except FileNotFoundError:
        return {}
    return {name: lines.count(name) for name in sorted(set(lines))}


def new_mark() -> str:
    """Return a unique prefix of this run's texts and keys."""
    return f"chaos-{time.time_ns():x}"
