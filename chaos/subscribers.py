"""The subscribers of a run: subscribes them, does to them what a plan says, and follows them until each has
everything.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from chaos.calls import CallAnswer
from chaos.hook_judge import FeedEvent, HookResult, judge_hooks, missing, position
from chaos.installation import ChaosInstallation, InstallationUnusable, NeverHappened, until
from chaos.plans import FAULTS, HOOKS, PlanStep
from chaos.receivers import MANNERS, HookReceiver
from shared.clock import left, monotonic

_PAGE: Final = 500
_LOOK_S: Final = 1.0
_OPERATOR_S: Final = 20.0
"""Seconds between two acts of the operator, who has each subscriber's events tried at once."""
_START_S: Final = 60.0
_PATIENCE_S: Final = 40.0
"""Seconds for which a call is repeated: PostgreSQL may be replaying its WAL."""
_PAUSED_S: Final = (0.5, 3.0)
_HEADER: Final = "X-Chaos"


class Subscribers:
    """All subscribers of one run.

    Args:
        companies: the first has a subscriber of each manner, the others one good one. seed: for random choices.
    """

    def __init__(self, installation: ChaosInstallation, companies: Sequence[str], seed: int) -> None:
        self._installation = installation
        self._dice = random.Random(seed)  # noqa: S311 - dice, not secrets
        first, *others = companies
        # one with all types; the others follow messages, like most programs
        self.receivers = [
            HookReceiver(f"{manner}-{first}", first, MANNERS[manner], seed, () if manner == "good" else ("message.*",))
            for manner in MANNERS
        ] + [HookReceiver(f"good-{company}", company, MANNERS["good"], seed) for company in others]
        self._feeds: dict[str, list[FeedEvent]] = {company: [] for company in companies}
        self._read: dict[str, str] = {}

    @property
    def bad_answers(self) -> Mapping[str, int]:
        """How often subscribers answered badly, by the answer."""
        total: Counter[str] = Counter()
        for one in self.receivers:
            total += one.bad
        return {f"subscriber {name}": count for name, count in total.items()}

    async def subscribe(self) -> None:
        """Subscribe all, and wait until the kind that serves them runs. Raises `InstallationUnusable`."""
        for one in self.receivers:
            await one.listen()
            body = {"url": one.url, "types": sorted(one.types), "headers": {_HEADER: "0"}}
            answer = await self._installation.api("POST", f"/api/v2/hooks/{one.company}", body=body, within_s=20.0)
            if answer is None or answer.status != 201:
                raise InstallationUnusable(f"the subscriber {one.name} was not added: {answer}")
            one.hook_id, one.after = answer.body["id"], answer.body["position"]
            one.secrets.append(answer.body["secret"])
            # no event lies between the first subscription of a company and the others that is only for some of them
            self._read.setdefault(one.company, one.after)
        slots = HOOKS[: self._installation.settings.kind("hooks").instances]
        try:
            await until(lambda: all(map(self._installation.pid, slots)), _START_S, "kind hooks runs")
        except NeverHappened as problem:
            raise InstallationUnusable(str(problem)) from None

    async def close(self) -> None:
        """Stop to listen."""
        for one in self.receivers:
            await one.deafen()

    async def do(self, step: PlanStep) -> None:
        """Do one fault to one of them. Raises `NeverHappened`."""
        one = self._dice.choice(self.receivers)
        # plans are pure data, so they name the method
        does: Callable[[HookReceiver, PlanStep], Awaitable[None]] = getattr(self, FAULTS[step.fault].details["does"])
        await does(one, step)

    async def outage(self, one: HookReceiver, step: PlanStep) -> None:
        """Let nothing listen at its address for a while."""
        await one.deafen()
        try:
            await asyncio.sleep(step.lasts_s)
        finally:
            await one.listen()

    async def rotate(self, one: HookReceiver, _: PlanStep) -> None:
        """Give it a new secret; again, until one is known here."""
        one.uncertain = True
        answer = await self._answered("POST", f"{_path(one)}/rotate", one)
        one.secrets.append(answer.body["secret"])
        one.uncertain = False

    async def change(self, one: HookReceiver, _: PlanStep) -> None:
        """Change its headers, which ends the work of the process that serves it."""
        await self._patch(one, headers={_HEADER: str(self._dice.getrandbits(16))})

    async def pause(self, one: HookReceiver, _: PlanStep) -> None:
        """Pause it for a while. The operator repeats both calls until they are answered."""
        await self._patch(one, state="paused")
        await asyncio.sleep(self._dice.uniform(*_PAUSED_S))
        await self._patch(one, state="active")

    def heal(self) -> None:
        """Let all answer well from now on."""
        for one in self.receivers:
            one.heal()

    async def catch_up(self, arrived: Mapping[str, Collection[int]], by: float) -> bool:
        """Wait until each subscriber has everything, and a test event of its own that both of its secrets signed if it
        has two. Returns whether that was so before the monotonic instant `by`. `arrived`: see `judge`.
        """
        operator_at = 0.0
        while True:
            await self._read_feeds()
            waiting = [one for one in self.receivers if missing(one.received(), self._feeds[one.company])]
            if not waiting and (waiting := [one for one in self.receivers if not await self._is_tested(one)]):
                operator_at = monotonic() + _OPERATOR_S
            if not waiting and not self.judge(arrived).unannounced:
                return True
            if left(by) <= 0:
                return False
            if monotonic() >= operator_at:
                operator_at = monotonic() + _OPERATOR_S
                for one in waiting:
                    # what waits is tried at once; also what was disabled by its own 410 goes on
                    await self._installation.api("PATCH", _path(one), body={"state": "active"})
            await asyncio.sleep(_LOOK_S)

    def judge(self, arrived: Mapping[str, Collection[int]]) -> HookResult:
        """Return the outcome. `arrived`: ids of messages that are at the provider, by company."""
        return judge_hooks(
            [one.received() for one in self.receivers],
            self._feeds,
            arrived,
            read_to=self._read,
            deliveries=sum(one.deliveries for one in self.receivers),
        )

    async def _is_tested(self, one: HookReceiver) -> bool:
        """Whether its test event came; asked for at the first call."""
        if one.uncertain:
            # a secret that is not known here would be the newest
            await self.rotate(one, PlanStep(at_s=0.0, fault="", target="", lasts_s=0.0))
        if not one.test:
            answer = await self._installation.api("POST", f"{_path(one)}/test")
            if answer is None or answer.status != 202:
                return False
            one.test = position(answer.body["eventId"])[1]
            return False
        return one.has(one.test) and (len(one.secrets) < 2 or one.is_signed_twice(one.test))

    async def _patch(self, one: HookReceiver, **body: Any) -> None:
        await self._answered("PATCH", _path(one), one, body)

    async def _answered(self, method: str, path: str, one: HookReceiver, body: Any = None) -> CallAnswer:
        """Repeat a call until it is carried out. Raises `NeverHappened`."""
        by = monotonic() + _PATIENCE_S
        while (answer := await self._installation.api(method, path, body=body)) is None or answer.status != 200:
            if left(by) <= 0:
                raise NeverHappened(f"the subscriber {one.name} was changed")
            await asyncio.sleep(_LOOK_S)
        return answer

    async def _read_feeds(self) -> None:
        for company in self._read:
            # a short page may end before the end of the stream
            while await self._read_page(company):
                pass

    async def _read_page(self, company: str) -> int:
        """Read the next page of a feed. Returns how many events it had; without an answer, 0."""
        place = f"/api/v2/events/{company}?after={self._read[company]}&limit={_PAGE}"
        answer = await self._installation.api("GET", place, within_s=20.0)
        if answer is None or answer.status != 200:
            return 0
        found = [_event(one) for one in answer.body["events"]]
        self._feeds[company] += found
        self._read[company] = answer.body["next"]
        return len(found)


def _path(one: HookReceiver) -> str:
    return f"/api/v2/hooks/{one.company}/{one.hook_id}"


def _event(shown: Mapping[str, Any]) -> FeedEvent:
    """Return an event of the feed."""
    data = shown["data"]
    message = data.get("message")
    return FeedEvent(
        id=shown["id"],
        number=position(shown["id"])[1],
        type=shown["type"],
        # of one connection with one customer
        conversation=f"{message['phoneIndex']} {message['chatId']}" if message else "",
        message_id=int(data.get("messageId") or 0),
        hook_id=data.get("hookId") or "",
    )
