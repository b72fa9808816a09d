"""The model and its tools in turn, until there is an answer: what was answered and done before stays so, whatever
process goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from ai import rows
from ai.answer_time import AnswerTime
from ai.runs import AnswerRun, Caps, RunSpending
from ai.tools.tool import Tool, ToolContext, ToolFailed, as_text, digest
from shared.fail_points import hit
from shared.llm.asking import Asker, ModelMetrics, ask
from shared.llm.failures import ModelFailed
from shared.llm.prices import Price
from shared.llm.questions import ChatMessage, ModelAnswer, ModelTarget, Question, ToolCall
from shared.llm.redaction import Redactor
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.store.pool import Row, Transaction
from shared.store.store import Store

log = logger(__name__)

CALLS_MOST: Final = 8
"""Calls of tools in one answer; further ones are refused, with the reason for the model."""
_REPETITIONS_MOST: Final = 2
"""Calls with arguments that were used before; then it is a loop."""
_EARLIER_MOST: Final = 4000
"""Characters of the first result that a repeated call is answered with."""
_UNCLEAR: Final = (
    "the call was interrupted: whether it was carried out is not known. Do not repeat it; let the customer know that a "
    "colleague will check."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """What is talked about.

    Attributes:
        messages: instructions and the chat. tools: what the model may call. targets: models in their order. context:
            makes the context of a tool's call from its key. time: that is left.
    """

    messages: Sequence[ChatMessage] = field(repr=False)
    tools: Mapping[str, Tool]
    targets: Sequence[ModelTarget]
    context: Callable[[str], ToolContext]
    time: AnswerTime


@dataclass(frozen=True, kw_only=True, slots=True)
class TalkEnd:
    """How it ended: a text, or a handover with its reason. `called`: tools that were called, with their arguments."""

    text: str = field(default="", repr=False)
    hands_over: bool = False
    called: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


class _CallKey(NamedTuple):
    """One call of a tool: of which answer of a model, its place there, what is asked, and its digest."""

    number: int
    position: int
    call: ToolCall
    digest: str


def _usable(talk: Talk, key: _CallKey, tool: Tool | None) -> tuple[Tool, Any]:
    """Return a tool and its arguments. Raises `ToolFailed` with what the model should know, `ModelFailed` when the time
    is over.
    """
    if talk.time.left_s() <= 0:
        raise ModelFailed("deadline")
    if key.position >= CALLS_MOST:
        raise ToolFailed(f"only {CALLS_MOST} calls are made for one answer")
    if tool is None:
        raise ToolFailed(f"there is no tool {key.call.name!r}; there are: {', '.join(talk.tools) or 'none'}")
    return tool, tool.read(key.call.arguments)


class Talker:
    """Lets models and tools work on runs; one for a process.

    Args:
        call_s: time for one call of a model.
    """

    def __init__(
        self,
        store: Store,
        asker: Asker,
        prices: Mapping[str, Price],
        caps: Caps,
        metrics: Metrics,
        *,
        call_s: float,
    ) -> None:
        self._store, self._asker, self._prices, self._caps, self._call_s = store, asker, prices, caps, call_s
        self._metrics = ModelMetrics(metrics)
        self._tool_calls = metrics.counter("tool_calls", "Calls of the assistant's tools.", ("tool", "outcome"))
        self._redacted = metrics.counter(
            "redactions", "Values that were replaced by marks before a model saw them.", ("what",)
        )

    async def talk(self, run: AnswerRun, talk: Talk) -> TalkEnd:
        """Return how it ends.

        Raises:
            ModelFailed: no model answered, or a limit was reached. TurnLost: it is not ours any more.
            StoreUnavailable: the database is away.
        """
        answers, results = await self._store.call(self._remembered, run)
        known = {(row["model_call_id"], row["position"]): row for row in results}
        said, redactor, called = [*talk.messages], Redactor(), list[Mapping[str, Any]]()
        digests: dict[str, str] = {}
        spending = RunSpending(self._store, run, self._caps, prices=self._prices, metrics=self._metrics, time=talk.time)
        for iteration in range(self._caps.iterations):
            if iteration < len(answers):
                number, answer = answers[iteration]["id"], _answer_of(answers[iteration])
            else:
                answer = await self._ask(run, talk, said, redactor, spending)
                number = spending.answered
            if not answer.calls:
                self._count(redactor)
                return TalkEnd(text=answer.text, called=called)
            said.append(answer.as_message())
            for position, call in enumerate(answer.calls):
                called.append({"name": call.name, "arguments": call.arguments})
                key = _CallKey(number, position, call, digest(call.name, call.arguments))
                result, hands_over = await self._tool(run, talk, key, known.get((number, position)), digests)
                said.append({"role": "tool", "tool_call_id": call.id, "content": result})
                if hands_over:
                    self._count(redactor)
                    return TalkEnd(hands_over=True, called=called)
        raise ModelFailed("iterations", f"no answer after {self._caps.iterations} calls")

    def _remembered(self, transaction: Transaction, run: AnswerRun) -> tuple[list[Row], list[Row]]:
        """Return what models and tools answered in earlier lives."""
        run.fence(transaction)
        # what they asked for in vain is settled first: it counts against the budget
        rows.settle_lost(transaction, run.company_id, run.name, turn_id=run.turn_id)
        return rows.calls(transaction, run.company_id, run.name), rows.tools(transaction, run.company_id, run.name)

    async def _ask(
        self, run: AnswerRun, talk: Talk, said: Sequence[ChatMessage], redactor: Redactor, spending: RunSpending
    ) -> ModelAnswer:
        config = run.settings.assistant
        question = Question(
            company_id=run.company_id,
            # the first message is ours; a company's own numbers in its instructions are meant for customers
            messages=[said[0], *redactor.hide(said[1:])] if config.redacts else said,
            tools=[tool.schema() for tool in talk.tools.values()],
            most_tokens=config.most_tokens,
            temperature=config.temperature,
            request_id=run.name,
            cache_s=config.cache_s,
        )
        shown = _Shown(self._asker, redactor)
        return await ask(
            shown,
            talk.targets,
            question,
            spending,
            left_s=talk.time.left_s,
            call_s=self._call_s,
            metrics=self._metrics,
        )

    async def _tool(
        self, run: AnswerRun, talk: Talk, key: _CallKey, row: Row | None, digests: dict[str, str]
    ) -> tuple[str, bool]:
        """Return the result of a tool's call, and whether a human takes over."""
        call, tool = key.call, talk.tools.get(key.call.name)
        if row is not None and row["state"] != "running":
            digests.setdefault(row["digest"], row["result"] or "")
            return row["result"] or "", bool(tool and tool.hands_over and row["state"] == "done")
        if row is not None and tool is not None and tool.outside is not None and not tool.is_repeatable:
            # a dead process had begun it
            result = as_text({"error": _UNCLEAR})
            await self._store.call(self._end, run, key, "unclear", result)
            self._tool_calls.labels(call.name, "unclear").inc()
            return result, False
        if key.digest in digests and row is None:
            return await self._repeated(run, key, digests[key.digest])
        state, hands_over = "done", False
        try:
            usable, arguments = _usable(talk, key, tool)
            result = await self._done(run, talk, key, usable, arguments)
            hands_over = usable.hands_over
        except ToolFailed as failure:
            state, result = "failed", as_text({"error": str(failure)})
            await self._store.call(self._write, run, key, state, result)
        hit("tool.done")
        self._tool_calls.labels(call.name if tool else "unknown", state).inc()
        digests[key.digest] = result
        return result, hands_over

    async def _done(self, run: AnswerRun, talk: Talk, key: _CallKey, tool: Tool, arguments: Any) -> str:
        """Carry out a call whose arguments are right, once. Raises `ToolFailed`."""
        effect, context = tool.in_rows, talk.context(f"{run.name}-{key.number}-{key.position}")
        if effect is not None or tool.outside is None:

            def work(transaction: Transaction) -> str:
                # key, effect and result in one transaction: a process that dies here leaves all of them or none
                self._claim(transaction, run, key)
                found = as_text(effect(transaction, context, arguments) if effect else {})
                hit("tool.written")
                rows.end_tool(transaction, model_call_id=key.number, position=key.position, state="done", result=found)
                return found

            return await self._store.call(work)
        await self._store.call(self._claim, run, key)
        hit("tool.calling")
        result = as_text(await tool.outside(context, arguments))
        hit("tool.called")
        await self._store.call(self._end, run, key, "done", result)
        return result

    async def _repeated(self, run: AnswerRun, key: _CallKey, earlier: str) -> tuple[str, bool]:
        found = await self._store.call(rows.tools, run.company_id, run.name)
        if sum(row["digest"] == key.digest for row in found) > _REPETITIONS_MOST:
            raise ModelFailed("loop", "the model repeats a call")
        result = as_text(
            {"error": "this very call was made before; use its result and answer", "result": earlier[:_EARLIER_MOST]}
        )
        await self._store.call(self._write, run, key, "failed", result)
        self._tool_calls.labels(key.call.name, "repeated").inc()
        return result, False

    def _claim(self, transaction: Transaction, run: AnswerRun, key: _CallKey) -> None:
        run.fence(transaction)
        rows.begin_tool(
            transaction,
            company_id=run.company_id,
            run=run.name,
            model_call_id=key.number,
            position=key.position,
            name=key.call.name,
            digest=key.digest,
        )

    def _end(self, transaction: Transaction, run: AnswerRun, key: _CallKey, state: str, result: str) -> None:
        run.fence(transaction)
        rows.end_tool(transaction, model_call_id=key.number, position=key.position, state=state, result=result)

    def _write(self, transaction: Transaction, run: AnswerRun, key: _CallKey, state: str, result: str) -> None:
        self._claim(transaction, run, key)
        rows.end_tool(transaction, model_call_id=key.number, position=key.position, state=state, result=result)

    def _count(self, redactor: Redactor) -> None:
        for kind, values in redactor.hidden.items():
            if values:
                self._redacted.labels(kind).inc(values)


class _Shown:
    """Asks, and puts what marks stand for back into the answer, before it is kept."""

    def __init__(self, asker: Asker, redactor: Redactor) -> None:
        self._asker, self._redactor = asker, redactor

    def kept(self, target: ModelTarget, question: Question) -> ModelAnswer | None:
        kept = self._asker.kept(target, question)
        return None if kept is None else self._shown(kept)

    async def ask(self, target: ModelTarget, question: Question, timeout_s: float) -> ModelAnswer:
        return self._shown(await self._asker.ask(target, question, timeout_s))

    def _shown(self, answer: ModelAnswer) -> ModelAnswer:
        show = self._redactor.show
        calls = tuple(replace(call, arguments=show(call.arguments)) for call in answer.calls)
        return replace(answer, text=show(answer.text), calls=calls)


def _answer_of(row: Row) -> ModelAnswer:
    """Return an answer as it was kept."""
    message = row["answer"]
    return ModelAnswer(
        model=row["model"],
        text=message.get("content") or "",
        calls=tuple(
            ToolCall(one["id"], one["function"]["name"], one["function"]["arguments"])
            for one in message.get("tool_calls", ())
        ),
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
    )
