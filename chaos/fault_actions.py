"""Carries out the faults. A fault whose target is away waits a little for it; then it is skipped and counted as left
out.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from chaos.doors import Doors
from chaos.hosts import Hosts
from chaos.installation import ChaosInstallation, NeverHappened, until
from chaos.judge import SenderKill
from chaos.outsiders import Outsiders
from chaos.pages import linked_page, order, relink
from chaos.plans import FAULTS, META, SENDERS, Action, PlanStep
from chaos.power_loss import lose_power
from chaos.subscribers import Subscribers
from shared.clock import left, monotonic
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.queues.connection import connect, redis_errors
from shared.settings import ChildEnvironment
from shared.store import processes
from shared.store.store import Store

_PATIENCE_S: Final = 5.0
"""Seconds that a fault waits for a target that is being restarted."""
_CUT_EVERY_S: Final = 0.05
"""Seconds between two cuts: the pool opens a new connection within milliseconds, which must be cut too."""
_REPEATED_MS: Final = 20_000
"""Milliseconds until the provider repeats a webhook whose connection broke: after the in-doubt window of an own
installation, and before the WEBHOOK_REPEAT_S of the plans with this fault.
"""
_IN_HAND: Final = 6
"""Number of messages whose responses are cut."""
_IN_HAND_MS: Final = 600.0
_TAKEN_S: Final = 0.4
"""Seconds for the provider to accept them; their statuses are due later."""
_TOGETHER_MS: Final = 400.0
_USUAL_SETTINGS: Final = {"retry_first_ms": 0, "linger_ms": 5}
_STANDS_S: Final = 1.5
"""Seconds that the senders are stopped: below their watchdog's limit, and until after the last of the statuses is due.
"""
_UNDER_WAY: Final = 20
"""Responses under way at a loss of power."""
_STATUS_MS: Final = 4_000.0
_OTHER_PHONE: Final = 0.0
"""Share of new links that are made with another phone. Messages that were accepted for the first one are then not sent.
"""
_ORCHESTRATOR_AWAY_S: Final = (0.1, 1.5)
"""Range of seconds until a killed orchestrator is started again, as by a service manager. Random, so that its children
are found in every state between alive and gone.
"""


class FaultInjector:
    """Carries out faults.

    Args:
        installation: the target. outsiders: posts statuses of other installations. doors: silent or wrong providers.
            subscribers: of webhooks; hosts: further ones; None: there are none. seed: for what a schedule leaves open.
    Attributes:
        done: how often each fault was carried out. left_out: how often it was skipped. kills: the senders that were
            killed, and when.
        connections_cut: how many database connections were ended.
    """

    def __init__(
        self,
        installation: ChaosInstallation,
        seed: int,
        outsiders: Outsiders,
        doors: Doors,
        *,
        subscribers: Subscribers | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self._outsiders, self._doors, self._subscribers, self._hosts = outsiders, doors, subscribers, hosts
        self._installation, self._dice = installation, random.Random(seed)  # noqa: S311 - dice, not secrets
        # processes that are stopped and not yet continued: an interrupted run must not leave a stopped process behind
        self._frozen: set[int] = set()
        self.done: dict[str, int] = {}
        self.left_out: dict[str, int] = {}
        self.kills: list[SenderKill] = []
        self.connections_cut = 0
        self.actions: Mapping[Action, Callable[[PlanStep], Awaitable[None]]] = {
            "kill": self._kill,
            "kill_server": self._kill_server,
            "stop_then_kill": self._stop_then_kill,
            "pause": self._pause,
            "pause_server": self._pause_server,
            "cut_database": self._cut_database,
            "flush_redis": self._flush_redis,
            "provider": self._provider,
            "page": self._page,
            "silence": self._drop_webhooks,
            "outsiders": self._post_as_outsiders,
            "doors": self._do_at_door,
            "kill_with_proof": self._kill_with_proof,
            "power_loss": self._lose_power,
            "relink": self._relink,
            "subscriber": self._do_to_subscriber,
            "host": self._do_to_host,
        }

    async def do(self, step: PlanStep) -> None:
        """Carry out one fault, from its beginning to its end."""
        try:
            await self.actions[FAULTS[step.fault].action](step)
        except (NeverHappened, StoreUnavailable, QueueUnavailable, ProcessLookupError):
            # the target is away, or disappeared meanwhile by another fault
            self.left_out[step.fault] = self.left_out.get(step.fault, 0) + 1
        else:
            self.done[step.fault] = self.done.get(step.fault, 0) + 1

    async def thaw(self) -> None:
        """Continue every process that is still stopped."""
        for pid in list(self._frozen):
            self._signal([pid], signal.SIGCONT)
        if self._hosts is not None:
            await self._hosts.thaw()

    async def _find(self, slot: str) -> int:
        await until(lambda: self._installation.pid(slot), _PATIENCE_S, f"{slot} lives")
        pid = self._installation.pid(slot)
        if pid is None:
            raise NeverHappened(f"{slot} is gone again")
        return pid

    async def _find_server(self, slot: str) -> list[int]:
        await until(lambda: self._installation.server_pids(slot), _PATIENCE_S, f"{slot} has a server")
        return self._installation.server_pids(slot)

    def _signal(self, pids: Iterable[int], number: signal.Signals) -> None:
        for pid in pids:
            if number is signal.SIGSTOP:
                self._frozen.add(pid)
            else:
                self._frozen.discard(pid)
            # another fault may have killed it while it was stopped
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _kill(self, step: PlanStep) -> None:
        pid = await self._find(step.target)
        # not by `_signal`: a target that is gone must count as left out, so `ProcessLookupError` propagates to `do`
        os.kill(pid, signal.SIGKILL)
        self._frozen.discard(pid)
        if step.target in SENDERS:
            # the ledger's clock: the judge compares this instant with the times of arrivals
            self.kills.append(SenderKill(at=time.time(), target=step.target))
        if step.target == "orchestrator":
            # the lock of the home is free only then; before that, a second orchestrator refuses to start
            await self._installation.wait_orchestrator_gone()
            await asyncio.sleep(self._dice.uniform(*_ORCHESTRATOR_AWAY_S))
            await self._installation.start_orchestrator()

    async def _kill_server(self, step: PlanStep) -> None:
        pids = await self._find_server(step.target)
        # parents come first: the server itself, and not a process that it forked
        os.kill(pids[0], signal.SIGKILL)

    async def _stop_then_kill(self, step: PlanStep) -> None:
        self._signal([await self._find(step.target)], signal.SIGSTOP)
        await asyncio.sleep(step.lasts_s)
        # looked up again: the orchestrator may have killed the hanging process meanwhile; this kills its successor
        await self._kill(step)

    async def _pause(self, step: PlanStep) -> None:
        pid = await self._find(step.target)
        self._signal([pid], signal.SIGSTOP)
        await asyncio.sleep(step.lasts_s)
        self._signal([pid], signal.SIGCONT)

    async def _pause_server(self, step: PlanStep) -> None:
        pids = await self._find_server(step.target)
        self._signal(pids, signal.SIGSTOP)
        await asyncio.sleep(step.lasts_s)
        self._signal(pids, signal.SIGCONT)

    async def _cut_database(self, step: PlanStep) -> None:
        await self._find(step.target)
        store = Store.open(
            self._installation.settings, ChildEnvironment(process_name="chaos", process_incarnation="chaos"), limit=1
        )
        try:
            by = monotonic() + step.lasts_s
            # at least once, also with a length of 0: a single cut is the usual fault
            while True:
                self.connections_cut += await store.call(processes.cut_connections, step.target)
                if left(by) <= 0:
                    break
                await asyncio.sleep(_CUT_EVERY_S)
        finally:
            store.close()

    async def _flush_redis(self, step: PlanStep) -> None:
        def flush() -> None:
            # 2 s: a server that another fault has stopped must fail this step, not prolong it
            with redis_errors(), connect(self._installation.settings.redis_url, 2.0) as client:
                client.flushall()

        # the client blocks: in the event loop it would stop the load meanwhile
        await asyncio.to_thread(flush)

    async def _provider(self, step: PlanStep) -> None:
        await self._sandbox("faults", **FAULTS[step.fault].details)

    async def _drop_webhooks(self, step: PlanStep) -> None:
        """Drop the webhooks of one number for a while: the app is not subscribed to its account."""
        details = {"fault": "webhook_drop", "count": None, "phone_number_id": FAULTS[step.fault].details["account"]}
        answer = await self._installation.sandbox("POST", "faults", body=details)
        if answer is None or answer.status != 200:
            raise NeverHappened("the provider is away")
        await asyncio.sleep(step.lasts_s)
        # a provider that was killed meanwhile has forgotten it
        await self._installation.sandbox("DELETE", f"faults/{answer.body['id']}")

    async def _post_as_outsiders(self, step: PlanStep) -> None:
        # plans are pure data, so they name the method
        post: Callable[[], Awaitable[None]] = getattr(self._outsiders, FAULTS[step.fault].details["posts"])
        await post()

    async def _do_at_door(self, step: PlanStep) -> None:
        does: Callable[[PlanStep], Awaitable[None]] = getattr(self._doors, step.target)
        await does(step)

    async def _do_to_subscriber(self, step: PlanStep) -> None:
        if self._subscribers is None:
            raise NeverHappened("there are subscribers")
        await self._subscribers.do(step)

    async def _do_to_host(self, step: PlanStep) -> None:
        if self._hosts is None:
            raise NeverHappened("there are further hosts")
        await self._hosts.do(step)

    async def _kill_with_proof(self, step: PlanStep) -> None:
        """Kill a sender that has unprocessed statuses of messages in doubt, and have the provider repeat them only
        after the in-doubt window.
        """
        # all statuses of these messages in one POST: any that arrives otherwise would be proof
        await self._sandbox("settings", retry_first_ms=_REPEATED_MS, linger_ms=_TOGETHER_MS)
        try:
            # the statuses arrive while all senders are stopped; the one that has them unread is killed
            await self._sandbox("faults", fault="webhook_delay", latency_ms=_IN_HAND_MS, count=6 * _IN_HAND)
            await self._sandbox("faults", fault="cut_after", count=_IN_HAND)
            await asyncio.sleep(_TAKEN_S)
            standing = {slot: await self._find(slot) for slot in META}
            self._signal(standing.values(), signal.SIGSTOP)
            try:
                await asyncio.sleep(_STANDS_S)
                unread = {slot: self._installation.unread_bytes(pid, "meta") for slot, pid in standing.items()}
                victim = max(unread, key=unread.__getitem__)
                if not unread[victim]:
                    raise NeverHappened("a webhook is in hand")
                await self._kill(replace(step, target=victim))
            finally:
                self._signal(standing.values(), signal.SIGCONT)
            # the provider notices the broken connections, and schedules its repetition
            await asyncio.sleep(_TAKEN_S)
        finally:
            await self._installation.sandbox("POST", "settings", body=_USUAL_SETTINGS)

    async def _lose_power(self, step: PlanStep) -> None:
        # delayed, since a status would settle the messages under way; the provider posts them after the loss
        await self._sandbox("faults", fault="webhook_delay", latency_ms=_STATUS_MS, count=4 * _UNDER_WAY)
        await self._sandbox("faults", fault="hang_after", count=_UNDER_WAY)
        await lose_power(self._installation, step.lasts_s)
        await self._installation.start_orchestrator()

    async def _sandbox(self, call: str, **body: Any) -> None:
        answer = await self._installation.sandbox("POST", call, body=body)
        if answer is None or answer.status != 200:
            raise NeverHappened("the provider is away")

    async def _relink(self, step: PlanStep) -> None:
        await relink(self._installation, lost_s=step.lasts_s, other_phone=self._dice.random() < _OTHER_PHONE)

    async def _page(self, step: PlanStep) -> None:
        details = FAULTS[step.fault].details
        await order(
            self._installation, await linked_page(self._installation), details["order"], amount=details["amount"]
        )
