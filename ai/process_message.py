"""Answers questions of the API (`POST /api/v1/ai/process-message`): each is a task, a row that the API waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ai import context, rows
from ai.answer_time import AnswerTime
from ai.models import ModelTargets
from ai.runs import CAP_FAILURES, AnswerRun
from ai.steps import Librarian
from ai.talking import Talk, Talker
from ai.tools.registry import ToolBox
from ai.tools.tool import ToolContext
from shared.clock import utc_now
from shared.llm.failures import ModelFailed
from shared.llm.questions import ChatMessage
from shared.states import CompanyState
from shared.store import tasks
from shared.store.pool import Row
from shared.store.store import Store
from shared.store.tasks import Task, TaskFailed
from shared.tenancy.known_companies import KnownCompanies

PROCESS_MESSAGE: Final = "process_message"
"""The tasks' operation."""


class MessageProcessor:
    """The handler of these tasks."""

    def __init__(
        self, store: Store, talker: Talker, targets: ModelTargets, tools: ToolBox, librarian: Librarian
    ) -> None:
        self._store, self._talker, self._targets, self._tools = store, talker, targets, tools
        self._librarian, self._companies = librarian, KnownCompanies(store)

    async def answer(self, task: Task) -> Mapping[str, Any]:
        """Return content and calls of tools. Raises `TaskFailed`."""
        found = await self._companies.find(task.company_id)
        if found is None or found.state is not CompanyState.ACTIVE:
            raise TaskFailed("conflict", "the company is not active")
        run = AnswerRun(
            company_id=task.company_id,
            name=f"task-{task.id}",
            turn_id=None,
            settings=found.settings,
            # tasks of this kind are not repeated: no other process has it
            fence=lambda _transaction: None,
        )
        text, time = str(task.arguments["content"]), AnswerTime(task.left_s)
        passages = await self._librarian.find(run, text) if found.settings.uses_rag else None
        # each has a question and an answer
        earlier = await self._store.call(tasks.before, task, most=-(-found.settings.assistant.history // 2))
        try:
            end = await self._talker.talk(
                run,
                Talk(
                    messages=[
                        {"role": "system", "content": context.instructions(found.settings, passages, utc_now())},
                        *context.cut([*_chat(earlier), {"role": "user", "content": text}]),
                    ],
                    tools=await self._tools.of(found.settings, task.company_id, is_chat=False),
                    targets=await self._targets.of(found.settings, task.company_id),
                    context=lambda key: ToolContext(
                        company_id=task.company_id,
                        connection_id=None,
                        customer=str(task.arguments["senderId"]),
                        key=key,
                    ),
                    time=time,
                ),
            )
        except ModelFailed as failure:
            code = "refused" if failure.code in CAP_FAILURES else "unreachable"
            raise TaskFailed(code, f"no model answered ({failure.code})", reason=failure.code) from failure
        finally:
            await self._store.call(rows.settle_lost, task.company_id, run.name, turn_id=None)
            await self._store.call(rows.forget, task.company_id, run.name)
        return {"content": end.text, "toolCalls": list(end.called)}


def _chat(earlier: Sequence[Row]) -> Iterator[ChatMessage]:
    """Return what a sender asked before, and what was answered; one that is being answered has no answer yet."""
    for row in earlier:
        yield {"role": "user", "content": str(row["arguments"]["content"])}
        if row["state"] == "done":
            yield {"role": "assistant", "content": str(row["result"]["content"])}
