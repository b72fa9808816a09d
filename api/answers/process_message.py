"""Asks the assistant and waits for its answer: for gateways that receive and send by themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.connections.tasks import TASK_PROBLEMS, TaskOperations
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import principal_of
from api.http.operations import Operation
from api.http.problems import Problem
from shared.compose.directory import Directory
from shared.fields import Field, checked, json_schema
from shared.store import tasks
from shared.store.store import Store
from shared.tenancy.known_companies import company_unknown

OPERATION: Final = "process_message"
"""The tasks' operation, which kind `ai` has a handler for."""
ANSWER_S: Final = 45.0
"""Seconds for an answer, the start of a process of kind `ai` included."""
_GRACE_S: Final = 2.5
"""Seconds more for which the outcome is waited for: a process ends a task at its deadline, and writes that."""
_BODY_LIMIT: Final = 256 * 1024
_FIELDS: Final = (
    Field(
        name="messageId",
        kind=str,
        required=True,
        shortest=1,
        longest=255,
        purpose="The platform's id of it. The same message of the same sender is answered once: a repetition gets the "
        "same answer, for a week.",
    ),
    Field(
        name="platform",
        kind=str,
        required=True,
        choices=("facebook", "instagram", "whatsapp"),
        title="AnswerPlatform",
        purpose="Where it was written.",
    ),
    Field(
        name="senderId", kind=str, required=True, shortest=1, longest=255, purpose="Who wrote it, as the platform says."
    ),
    Field(name="companyId", kind=str, required=True, shortest=1, longest=64, purpose="Whose assistant answers."),
    Field(name="content", kind=str, required=True, shortest=1, longest=16_000, purpose="What was written."),
    Field(
        name="attachments",
        kind=list,
        items=Field(kind=dict),
        most=30,
        purpose="Files that came with it; the assistant knows their number, and does not see them.",
    ),
    Field(
        name="timestamp",
        kind=str,
        longest=40,
        others=(Field(kind=int, low=0, high=1e15), Field(kind=float, low=0, high=1e15)),
        purpose="When it was written; only for the caller's own records.",
    ),
)
_EXAMPLE: Final = {
    "messageId": "m_AG5Hz2U",
    "platform": "facebook",
    "senderId": "7100000000000001",
    "companyId": "demo",
    "content": "What is your refund policy?",
    "attachments": [],
    "timestamp": "2026-11-30T12:00:00Z",
}


class ProcessMessageOperations:
    """The operation that asks the assistant."""

    def __init__(self, directory: Directory, store: Store, asked: TaskOperations) -> None:
        self._directory, self._store, self._asked = directory, store, asked

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                operation_id="processMessage",
                method="POST",
                path="/api/v1/ai/process-message",
                scope="send",
                owner="principal",
                group="Assistant",
                summary="Ask the assistant, and get its answer back; nothing is sent",
                handler=self.ask,
                body=json_schema(_FIELDS),
                examples=(_EXAMPLE,),
                answers={200: ("The answer.", "ProcessedMessage")},
                problems=(*BODY_PROBLEMS, "company_unknown", "task_unknown", "message_id_reused", *TASK_PROBLEMS),
            )
        ]

    async def ask(self, request: Request) -> Response:
        """Add a task of kind `ai`, and answer with its outcome."""
        given = checked(await read_json(request, limit=_BODY_LIMIT), _FIELDS)
        company_id, principal = given["companyId"], principal_of(request)
        if principal.company_id not in (None, company_id):
            raise company_unknown()
        await self._directory.require_company(company_id)
        files = len(given["attachments"] or ())
        content = given["content"] + (f"\n[{files} attachments]" if files else "")
        task = await self._store.as_company(company_id).call(
            tasks.add_once,
            company_id=company_id,
            kind="ai",
            operation=OPERATION,
            arguments={
                "messageId": given["messageId"],
                "platform": given["platform"],
                "senderId": given["senderId"],
                "content": content,
            },
            # a gateway may number the messages of each sender
            once=(given["platform"], given["senderId"], given["messageId"]),
            about=(given["platform"], given["senderId"]),
            expires_in_s=ANSWER_S,
        )
        task_id = int(task["id"])
        if not task["is_same"]:
            raise Problem(
                "message_id_reused", "The sender has a message of this id with another content.", taskId=str(task_id)
            )
        row = await self._asked.ended(company_id, task_id, ANSWER_S + _GRACE_S)
        if row["state"] != "done":
            raise Problem("task_expired", "The assistant did not answer in time.", taskId=str(task_id))
        result = row["result"]
        return JSONResponse(
            {
                "success": True,
                "response": {
                    "content": result["content"],
                    "toolCalls": [_call(one) for one in result["toolCalls"]],
                },
            }
        )


def _call(called: Mapping[str, Any]) -> dict[str, Any]:
    try:
        arguments = json.loads(called["arguments"])
    except (ValueError, RecursionError):
        arguments = None
    # what a model wrote that is no object was refused, and stays visible as it was
    return {
        "name": called["name"],
        "arguments": arguments if isinstance(arguments, dict) else {"invalid": called["arguments"]},
    }
