"""Dead letters and held messages in doubt: list, redrive, resolve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, query_of
from api.http.problems import Problem
from api.messages.paths import message_unknown, named_by_any
from shared.clock import read_timestamp
from shared.compose.directory import Directory, require_possible
from shared.fields import Field, checked, json_schema
from shared.states import MessageState
from shared.store import interventions, targets
from shared.store.interventions import MOST_AT_ONCE, REDRIVEN, RESOLUTIONS, Obstacle, Resolution
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.timestamps import iso

# letters in one page
_PAGE: Final = 100
# characters; codes are ours, or the provider's short numbers and words
_LONGEST_CODE: Final = 100
# letters of one count: some tens of milliseconds
_COUNTED_MOST: Final = 10_000
_INSTANT: Final = "ISO 8601 with a time zone."
_REDRIVE_FIELDS: Final = (
    Field(name="code", kind=str, purpose="Only those that failed with this code.", longest=_LONGEST_CODE),
    Field(name="phoneIndex", kind=int, purpose="Only those of this connection.", high=9999),
    Field(
        name="failedAfter",
        kind=str,
        purpose=f"Only those that failed then or later; {_INSTANT}",
        longest=40,
        documented=(("format", "date-time"),),
    ),
    Field(
        name="failedBefore",
        kind=str,
        purpose=f"Only those that failed earlier; {_INSTANT}",
        longest=40,
        documented=(("format", "date-time"),),
    ),
    Field(
        name="limit",
        kind=int,
        purpose="How many at most, the oldest first.",
        default=MOST_AT_ONCE,
        low=1,
        high=MOST_AT_ONCE,
    ),
)
_RESOLVE_FIELDS: Final = (
    Field(
        name="as",
        kind=str,
        purpose="The decision: it arrived, send it again, or give it up.",
        required=True,
        choices=get_args(Resolution),
    ),
)
_HELD_REASONS: Final = {
    "attempts_used": "It may have been sent, nothing proves whether it was, and its attempts are used up.",
}
"""Why a message in doubt is held, by its code, where the row has no detail."""
_FAILED_REASONS: Final = {
    "other_world": "It was accepted for the other world (sandbox or live) than its connection sends to now.",
    "other_account": "It was accepted for another account than its connection has now; redriving sends it from that.",
}
"""Why a failed message waits, by its code, where the row has no detail."""
_OBSTACLES: Final[Mapping[Obstacle, str]] = {
    "connection_removed": "The connection of this message was removed.",
    "other_world": "The message was accepted for the other world (sandbox or live) than its connection sends to now.",
}
"""Why a message cannot be sent again, as a sentence."""
_SENDING: Final = ("redrive", "resend")
"""Choices that send a message."""
_ONE_PATH: Final = "/api/v2/messages/{companyId}/{chatId}/{messageId}"
_ONE_PROBLEMS: Final = ("company_unknown", "chat_invalid", "message_unknown")

Describe = Callable[[str, str, int], Awaitable[Mapping[str, Any]]]
"""Returns a message of (company, chat, id) as clients see it; raises `Problem` when there is none."""


class DeadLetterOperations:
    """The operations on dead letters and held messages.

    Args:
        describe: see `Describe`.
    """

    def __init__(self, directory: Directory, store: Store, describe: Describe, worlds: Mapping[str, str]) -> None:
        self._directory, self._store, self._describe, self._worlds = directory, store, describe, worlds

    def operations(self) -> list[Operation]:
        """Return the operations on dead letters and held messages."""
        return [
            Operation(
                operation_id="listDeadLetters",
                method="GET",
                path="/api/v2/dead-letters/{companyId}",
                scope="operate",
                group="Dead letters",
                summary="List dead letters and held messages in doubt, newest first",
                handler=self.show,
                parameters=(
                    Parameter(
                        name="code",
                        place="query",
                        purpose="Only those with this error code.",
                        schema={"type": "string", "maxLength": _LONGEST_CODE},
                        rule="an error code",
                    ),
                    Parameter(
                        name="phoneIndex",
                        place="query",
                        purpose="Only those of this connection.",
                        schema={"type": "integer", "minimum": 0, "maximum": 9999},
                    ),
                    Parameter(
                        name="held",
                        place="query",
                        purpose="`true`: only messages in doubt that are held; `false`: only those that failed.",
                        schema={"type": "boolean"},
                    ),
                    cursor(),
                ),
                answers={200: ("One page.", "DeadLetters")},
                problems=("company_unknown", "query_invalid"),
            ),
            Operation(
                operation_id="countDeadLetters",
                method="GET",
                path="/api/v2/dead-letters/{companyId}/reasons",
                scope="operate",
                group="Dead letters",
                summary="How many dead letters and held messages there are, by reason and connection",
                handler=self.show_reasons,
                answers={200: (f"The most frequent first; counted are the newest {_COUNTED_MOST:,}.", "LetterReasons")},
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="redriveDeadLetters",
                method="POST",
                path="/api/v2/dead-letters/{companyId}/redrive",
                scope="operate",
                group="Dead letters",
                summary="Queue failed messages again, the oldest first",
                handler=self.redrive_many,
                body=json_schema(_REDRIVE_FIELDS),
                examples=(
                    {"code": "131026", "limit": 100},
                    {},
                ),
                answers={202: ("How many are queued again.", "Redriven")},
                problems=("company_unknown", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="redriveDeadLetter",
                method="POST",
                path=_ONE_PATH + "/redrive",
                scope="operate",
                group="Dead letters",
                summary="Queue one failed message again, with another full set of attempts",
                handler=self.redrive_one,
                answers={202: ("The message is queued, or was redriven before.", "Message")},
                problems=(*_ONE_PROBLEMS, "not_a_dead_letter", *_OBSTACLES),
            ),
            Operation(
                operation_id="resolveMessage",
                method="POST",
                path=_ONE_PATH + "/resolve",
                scope="operate",
                group="Dead letters",
                summary="Resolve a held message in doubt",
                handler=self.resolve,
                body=json_schema(_RESOLVE_FIELDS),
                examples=({"as": "sent"},),
                answers={200: ("The resolved message; a repetition gets the same response.", "Message")},
                problems=(*_ONE_PROBLEMS, *BODY_PROBLEMS, "not_held", *_OBSTACLES),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with one page."""
        company_id, query = request.path_params["companyId"], query_of(request)
        require_possible(company_id)
        rows = await self._store.as_company(company_id).call(
            interventions.for_humans,
            company_id=company_id,
            code=query["code"],
            phone_index=query["phoneIndex"],
            held=query["held"],
            before=int(query["cursor"]) if query["cursor"] else interventions.NEWEST,
            # one more: its presence means that another page follows
            most=_PAGE + 1,
        )
        # only when there is nothing: a company with letters exists
        if not rows:
            await self._directory.require_company(company_id)
        following = str(rows[_PAGE - 1]["id"]) if len(rows) > _PAGE else None
        return JSONResponse({"letters": [self._letter(row) for row in rows[:_PAGE]], "next": following})

    async def show_reasons(self, request: Request) -> Response:
        """Answer with how many letters there are."""
        company_id = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        rows = await self._store.as_company(company_id).call(
            interventions.by_reason, company_id=company_id, most=_COUNTED_MOST
        )
        reasons = [
            {
                "held": row["held"],
                "code": row["error_code"],
                "phoneIndex": row["phone_index"],
                "letters": row["letters"],
                "firstAt": iso(row["first_at"]),
                "lastAt": iso(row["last_at"]),
            }
            for row in rows
        ]
        return JSONResponse(
            {"reasons": reasons, "complete": sum(row["letters"] for row in rows) < _COUNTED_MOST},
            headers={"Cache-Control": "no-store"},
        )

    async def redrive_many(self, request: Request) -> Response:
        """Queue the selected messages, and return their number."""
        company_id = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        fields = checked(await read_json(request), _REDRIVE_FIELDS)
        asked = {name: value for name, value in fields.items() if value is not None}
        ids = await self._store.as_company(company_id).call(
            recorded(act_of(request), interventions.redrive, after=lambda moved: {"redriven": len(moved), **asked}),
            company_id=company_id,
            code=fields["code"],
            phone_index=fields["phoneIndex"],
            failed_after=_read_at(fields, "failedAfter"),
            failed_before=_read_at(fields, "failedBefore"),
            most=fields["limit"],
            worlds=self._worlds,
        )
        # `more` instead of a number: counting the rest would cost as much as queuing it
        return JSONResponse({"redriven": len(ids), "more": len(ids) == fields["limit"]}, status_code=202)

    async def redrive_one(self, request: Request) -> Response:
        """Queue one message again; no effect on one that was redriven before."""
        company_id, chat_id, message_id = await self._named(request)
        # first: a redrive leaves such messages as they are, and their state would be a misleading reason
        await self._require_sendable(company_id, chat_id, message_id)
        # one conditional statement: of two concurrent operators only one queues the message
        moved = await self._store.as_company(company_id).call(
            recorded(act_of(request), interventions.redrive),
            company_id=company_id,
            chat_id=chat_id,
            message_id=message_id,
            worlds=self._worlds,
        )
        shown = await self._describe(company_id, chat_id, message_id)
        # redriven before: a repeated request gets the same response, whatever the message's state
        if not moved and await self._store.as_company(company_id).call(interventions.last_word, message_id) != REDRIVEN:
            raise Problem("not_a_dead_letter", f"The message is {shown['status']}.", state=shown["status"])
        return JSONResponse(shown, status_code=202)

    async def resolve(self, request: Request) -> Response:
        """Resolve a held message as the operator decides."""
        company_id, chat_id, message_id = await self._named(request)
        resolution: Resolution = checked(await read_json(request), _RESOLVE_FIELDS)["as"]
        if resolution == "resend":
            await self._require_sendable(company_id, chat_id, message_id)
        moved = await self._store.as_company(company_id).call(
            recorded(act_of(request), interventions.resolve, after=lambda _: {"as": resolution}),
            company_id=company_id,
            chat_id=chat_id,
            message_id=message_id,
            resolution=resolution,
        )
        shown = await self._describe(company_id, chat_id, message_id)
        # the same decision gets the same response; another one is refused
        if (
            not moved
            and await self._store.as_company(company_id).call(interventions.last_word, message_id)
            != RESOLUTIONS[resolution][1]
        ):
            raise Problem("not_held", f"The message is {shown['status']}.", state=shown["status"])
        return JSONResponse(shown)

    async def _named(self, request: Request) -> tuple[str, str, int]:
        """Return company, chat and id of the message that the path names by our id or the provider's. Raises `Problem`
        when the chat has no such message.
        """
        company_id, chat_id, given = named_by_any(request)
        if isinstance(given, int):
            return company_id, chat_id, given
        found = await self._store.as_company(company_id).call(targets.find, company_id, given, acting=True)
        for target in found:
            if target.provider_id == given and chat_id in target.chat_ids:
                return company_id, chat_id, target.id
        await self._directory.require_company(company_id)
        raise message_unknown()

    async def _require_sendable(self, company_id: str, chat_id: str, message_id: int) -> None:
        """Raise `Problem` when a dead letter or a held message cannot be sent at all."""
        found = await self._store.as_company(company_id).call(
            interventions.obstacle, company_id=company_id, message_id=message_id, worlds=self._worlds
        )
        if found is None:
            return
        shown = await self._describe(company_id, chat_id, message_id)
        # a message in another state is refused because of that state
        if shown["status"] == MessageState.FAILED or shown.get("heldForHumanAt"):
            raise Problem(found, _OBSTACLES[found])

    def _letter(self, row: Row) -> Mapping[str, Any]:
        return {
            "id": str(row["id"]),
            "status": MessageState(row["state"]),
            "chatId": row["chat_id"],
            "phoneIndex": row["phone_index"],
            "connectionType": row["connection_type"],
            "type": row["type"],
            "attempt": row["attempt"],
            "error": {"code": row["error_code"], "detail": row["error_detail"]},
            "reason": _reason(row),
            "choices": _choices(row, interventions.obstacle_of(row, self._worlds)),
            "heldForHumanAt": iso(row["held_at"]),
            "createdAt": iso(row["created_at"]),
            "updatedAt": iso(row["updated_at"]),
        }


def _choices(row: Row, obstacle: Obstacle | None) -> list[str]:
    """Return the decisions that are possible for a letter."""
    # a message in doubt cannot be redriven (it may have been sent), and a failed one has nothing to resolve
    choices = list(get_args(Resolution)) if row["held_at"] else ["redrive"]
    return [choice for choice in choices if obstacle is None or choice not in _SENDING]


def _reason(row: Row) -> str:
    """Return, as a sentence, why a human must decide."""
    detail: str = row["error_detail"]
    if row["held_at"] is None:
        return detail or _FAILED_REASONS.get(row["error_code"], str(row["error_code"]))
    return detail or _HELD_REASONS.get(row["error_code"], "It may have been sent, and nothing proves whether it was.")


def _read_at(fields: Mapping[str, Any], name: str) -> datetime | None:
    if fields[name] is None:
        return None
    try:
        return read_timestamp(fields[name])
    except ValueError as error:
        reason = "is no instant of ISO 8601 with a time zone"
        raise Problem(
            "body_invalid", f"/{name} {reason}.", errors=[{"pointer": f"/{name}", "reason": reason}]
        ) from error
