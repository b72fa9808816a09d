"""The service of kind `ai`: claims turns, answers each, and answers the API's questions beside them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from ai import rows
from ai.answer_time import AnswerTime
from ai.answers import TurnAcceptor
from ai.knowledge import DocumentLibrarian
from ai.models import ModelTargets
from ai.process_message import PROCESS_MESSAGE, MessageProcessor
from ai.rows import AssistantTurn, TurnLost
from ai.runs import Caps
from ai.steps import Ended, StepParts, Steps, TurnFailed, TurnWork
from ai.talking import Talker
from ai.tools.booking import BookingTools
from ai.tools.functions import FunctionTools
from ai.tools.registry import ToolBox
from shared.channels.worlds import worlds
from shared.clock import utc_now
from shared.compose.composer import Composer
from shared.compose.files import Files
from shared.conversations.states import TurnState
from shared.delivery.accept import Acceptor
from shared.errors import QueueUnavailable, Refused, StoreUnavailable
from shared.fail_points import hit
from shared.llm.cache import CachingAsker
from shared.llm.prices import read_prices
from shared.llm.provider import ModelProvider
from shared.logs import correlation_id, logger
from shared.media.reach import reach_of
from shared.media.storage import open_storage
from shared.process.leased_work import Intervals, LeasedRows, LeasedWork
from shared.process.periodic import repeat
from shared.process.service import Child, Service, Severity
from shared.process.tasks import TaskRunner
from shared.queues.hints import Hints
from shared.queues.installation import own_hints
from shared.rag.embedders import Embedders
from shared.secrets import Vault
from shared.store.pool import Transaction
from shared.tenancy.tenant_secrets import SecretService

log = logger(__name__)

_LOOK_S: Final = 0.25
"""Longest pause between two looks for turns: what a customer of a company without an answer delay waits at most. A turn
with a delay is seen before it is due, and the next look comes at that instant."""
_BEAT_LIMIT_S: Final = 20.0
_FIGURES_S: Final = 5.0
_MICROS: Final = 1_000_000


class AiService:
    """See `shared.process.service.Service`."""

    app: Any = None

    def __init__(self, child: Child) -> None:
        settings, store = child.settings, child.store
        self._child, self._store = child, store
        self._incarnation = child.identity.process_incarnation
        prices = read_prices(str(settings.own("LLM_PRICES")))
        self._wall_s = float(settings.own("AI_TURN_S"))
        caps = Caps(
            iterations=int(settings.own("AI_ITERATIONS")),
            tokens=int(settings.own("AI_TURN_TOKENS")),
            micros=round(float(settings.own("AI_TURN_DOLLARS")) * _MICROS),
            wall_s=self._wall_s,
        )
        self._each = int(settings.own("AI_COMPANY_TURNS"))
        self._provider = ModelProvider(reach_of(settings))
        self._hints = Hints(settings.redis_url, settings.redis_timeout_s)
        self._plain_acceptor = Acceptor(store, self._hints, child.metrics, worlds(settings))
        self._acceptor = TurnAcceptor(
            store, self._plain_acceptor, worlds(settings), child.metrics, incarnation=self._incarnation
        )
        self._storage = open_storage(settings)
        composer = Composer(store, self._acceptor, Files(store, self._storage), child.metrics, reach=reach_of(settings))
        asker = CachingAsker(self._provider)
        talker = Talker(store, asker, prices, caps, child.metrics, call_s=float(settings.own("LLM_CALL_S")))
        secrets = SecretService(store, Vault.from_settings(settings))
        targets = ModelTargets(settings, secrets)
        self._embedders = Embedders(child, secrets)
        librarian = DocumentLibrarian(store, self._embedders, child.metrics)
        self._functions = FunctionTools(store, secrets, reach_of(settings))
        tools = ToolBox((BookingTools(store), self._functions))
        self._steps = Steps(
            StepParts(
                store=store,
                composer=composer,
                acceptor=self._acceptor,
                talker=talker,
                targets=targets,
                tools=tools,
                librarian=librarian,
                incarnation=self._incarnation,
            )
        )
        processor = MessageProcessor(store, talker, targets, tools, librarian)
        self._tasks = TaskRunner(child, {PROCESS_MESSAGE: processor.answer}, at_once=int(settings.own("AI_TURNS")))
        self._turns: LeasedWork[AssistantTurn] = LeasedWork(
            child,
            "turns",
            LeasedRows(
                release=self._release,
                take=self._take,
                key=lambda turn: turn.id,
                work=self._answer,
                due_in_s=lambda: self._due_in_s,
            ),
            capacity=int(settings.own("AI_TURNS")),
            intervals=Intervals(busy_s=_LOOK_S, idle_s=_LOOK_S),
            beat_limit_s=_BEAT_LIMIT_S,
        )
        self._due_in_s, self._has_blocked = math.inf, False
        self._figures: Mapping[str, Any] = {"open": 0, "running": 0, "oldest_s": 0.0}
        child.metrics.gauge("turns_open", "Turns that wait to be answered.", read=partial(self._figure, "open"))
        child.metrics.gauge("turns_running", "Turns that are being answered.", read=partial(self._figure, "running"))
        child.metrics.gauge(
            "turns_oldest_seconds",
            "For how long the oldest turn has been due.",
            read=partial(self._figure, "oldest_s"),
        )
        self._seconds = child.metrics.histogram(
            "turn_seconds",
            "Time from a customer's message to the end of its turn.",
            buckets=(0.5, 1, 2, 4, 8, 15, 30, 60, 120),
        )

    async def start(self) -> None:
        """Begin to answer, even while the database or Redis is unavailable."""
        await own_hints(self._child, self._hints)
        await self._plain_acceptor.start()
        self._turns.start()
        self._tasks.start()
        self._child.spawn(repeat("turn-figures", self._read_figures, _FIGURES_S), "turn-figures")

    async def drain(self, by: float) -> bool:
        """Finish the turns in hand, and give back what has no time."""
        turns, tasks = await asyncio.gather(self._turns.drain(by), self._tasks.drain(by))
        return turns and tasks

    async def close(self) -> None:
        """Stop; what is still in hand is given back, and is no failed attempt."""
        await self._turns.close()
        await self._tasks.close()
        try:
            await self._store.call(rows.release_own, incarnation=self._incarnation)
        # the recorder does it when it has proof of this process's end
        except StoreUnavailable as error:
            log.warning("turns_not_released", reason=str(error))
        await self._functions.close()
        await self._provider.close()
        await self._embedders.close()
        await self._plain_acceptor.close()
        await self._storage.close()
        self._hints.close()

    def readiness(self) -> Mapping[str, str]:
        """Nothing beyond the database, which every child watches."""
        return {}

    def health(self) -> Mapping[str, Any]:
        """Return how many turns wait and run, of all processes."""
        return {"turnsOpen": self._figures["open"], "turnsRunning": self._figures["running"]}

    def classify(self, error: BaseException) -> Severity:
        """An unavailable dependency is survived; anything else is a bug."""
        return Severity.RECOVERABLE if isinstance(error, (StoreUnavailable, QueueUnavailable)) else Severity.CRITICAL

    async def _release(self) -> None:
        slot, living = self._child.identity.slot, self._incarnation
        if released := await self._store.call(rows.release_earlier_lives, slot=slot, living=living):
            log.warning("turns_reclaimed", rows=released, why="next_life")

    async def _take(self, most: int) -> Sequence[AssistantTurn]:
        if not most:
            self._due_in_s = math.inf
            return ()
        due_in_s, turns = await self._store.call(self._claim, most)
        # What is due and was not claimed waits for a place of its company, or for the end of its conversation's turn:
        # for the end of a turn in any process, so there is no instant to wait for.
        self._has_blocked = due_in_s <= 0
        self._due_in_s = due_in_s if due_in_s > 0 else math.inf
        if turns:
            hit("turn.claimed")
        return turns

    def _claim(self, transaction: Transaction, most: int) -> tuple[float, list[AssistantTurn]]:
        """Return in how many seconds the next turn is due, 0 or less if one is, and the turns that are claimed now."""
        due_in_s = rows.next_in_s(transaction)
        if due_in_s > 0:
            return due_in_s, []
        return due_in_s, rows.claim(transaction, incarnation=self._incarnation, most=most, each=self._each)

    def _figure(self, name: str) -> float:
        return float(self._figures[name])

    async def _read_figures(self) -> None:
        self._figures = await self._store.call(rows.figures)

    async def _answer(self, turn: AssistantTurn) -> None:
        correlation_id.set(turn.run)
        work = TurnWork(turn=turn, time=AnswerTime(self._wall_s))

        def delayed(error: StoreUnavailable) -> None:
            log.warning("turn_delayed", turn_id=turn.id, reason=str(error))

        # all of it may be done again: what was answered and done is in rows
        through = partial(work.time.through_outages, query_s=self._store.query_s, delayed=delayed)
        try:
            ended = await through(partial(self._outcome, work))
            await through(partial(self._conclude, work, ended))
        except TurnLost as lost:
            log.info("turn_lost", turn_id=turn.id, reason=str(lost))
            return
        finally:
            if self._has_blocked:
                self._turns.wake()
        self._seconds.labels().observe((utc_now() - turn.opened_at).total_seconds())
        log.info("turn_ended", turn_id=turn.id, state=ended.state, reason=ended.reason)

    async def _outcome(self, work: TurnWork) -> Ended:
        try:
            async with work.time.limit():
                for step in self._steps.in_order:
                    if (ended := await step(work)) is not None:
                        return ended
        except (TurnLost, StoreUnavailable):
            raise
        except TurnFailed as failed:
            return self._steps.failure(work, failed.reason)
        except TimeoutError:
            return self._steps.failure(work, "deadline")
        # a bug in one step concerns its turn alone
        except Exception as error:
            log.error("turn_crashed", exc_info=error, turn_id=work.turn.id)
            self._child.heartbeat.count_error(error)
            return self._steps.failure(work, "internal")
        raise AssertionError("the last step ends a turn")

    async def _conclude(self, work: TurnWork, ended: Ended) -> None:
        try:
            await self._steps.conclude(work, ended)
        except Refused as refused:
            # the window has closed, the company is suspended, …: a human sees it, nothing is sent
            log.warning("answer_refused", turn_id=work.turn.id, code=refused.code)
            failed = self._steps.failure(work, f"refused_{refused.code}")
            state = TurnState.HANDED_OFF if failed.hands_over else TurnState.FAILED
            await self._steps.conclude(work, failed._replace(state=state, text=""))


async def open_service(child: Child) -> Service:
    """Return the service of this process. Raises `SettingsInvalid` when a setting or the encryption key is wrong."""
    return AiService(child)
