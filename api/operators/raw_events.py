"""Raw events of the inbound journal: what providers sent, as it came; processing it again."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from api.messages.paths import named_by_any
from shared.fields import Field, checked, json_schema
from shared.store import inbound_journal
from shared.store.inbound_journal import Choice
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.timestamps import iso

_PATH: Final = "/api/v2/raw-events"
_KIND: Final = "meta"
"""Whose journal: a browser session reads its events again from its page."""
_ID: Final = re.compile(r"[0-9]{1,18}")
_FRESH: Final = {"Cache-Control": "no-store"}
_CHOICES: Final = {
    "failed": Choice(failed=True),
    "named": Choice(named=True),
    "waiting": Choice(waiting=True),
}
_AT_ONCE: Final = 200
"""Raw events that are marked at once: a few batches, so that live webhooks behind them wait for a moment only."""
_REPLAY: Final = (
    Field(
        name="chosen",
        kind=str,
        required=True,
        choices=("failed", "named"),
        title="RawEventChoice",
        purpose="`failed`: those that could not be processed; `named`: also those that were not fully understood.",
    ),
    Field(
        name="before",
        kind=str,
        longest=18,
        documented=(("pattern", "^[0-9]{1,18}$"),),
        purpose="Only those below this id: `next` of the answer before.",
    ),
)

Describe = Callable[[str, str, int | str], Awaitable[Mapping[str, Any]]]
"""Returns a message of (company, chat, id) as clients see it; raises `Problem` when there is none."""


class RawEventOperations:
    """The operations on raw events. They belong to the installation: one raw event may hold those of several companies.

    Args:
        describe: see `Describe`.
    """

    def __init__(self, store: Store, describe: Describe) -> None:
        self._store, self._describe = store, describe

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="listRawEvents",
                method="GET",
                path=_PATH,
                scope="operate",
                owner="installation",
                group="Raw events",
                summary="Webhooks as they came, without their bodies, newest first",
                handler=self.show,
                parameters=(
                    Parameter(
                        name="chosen",
                        place="query",
                        purpose="`failed`: could not be processed; `named`: also what was not fully understood; "
                        "`waiting`: not processed yet.",
                        schema=choice("RawEventFilter", *_CHOICES),
                    ),
                    limit("Events in one page.", default=50, most=200),
                    cursor(),
                ),
                answers={200: ("One page.", "RawEvents")},
                problems=("query_invalid",),
            ),
            # before the path of one event, which it also matches
            Operation(
                operation_id="replayRawEvents",
                method="POST",
                path=f"{_PATH}/replay",
                scope="operate",
                owner="installation",
                group="Raw events",
                summary=f"Process many raw events again, at most {_AT_ONCE}, the newest first",
                handler=self.replay_many,
                body=json_schema(_REPLAY),
                examples=({"chosen": "failed"},),
                answers={202: ("How many wait to be processed; `next` leads to the others.", "RawEventsReplayed")},
                problems=BODY_PROBLEMS,
                act="raw-events.replay-many",
            ),
            Operation(
                operation_id="getRawEvent",
                method="GET",
                path=f"{_PATH}/{{rawEventId}}",
                scope="read",
                owner="installation",
                group="Raw events",
                summary="One raw event with its body",
                handler=self.show_one,
                answers={200: ("As it came.", "RawEvent")},
                problems=("raw_event_unknown",),
            ),
            Operation(
                operation_id="getRawEventOfMessage",
                method="GET",
                path="/api/v2/messages/{companyId}/{chatId}/{messageId}/raw",
                scope="read",
                owner="installation",
                group="Raw events",
                summary="The raw event that a received message came with",
                handler=self.show_of_message,
                answers={200: ("As it came.", "RawEvent")},
                problems=("company_unknown", "chat_invalid", "message_unknown", "raw_event_unknown"),
            ),
            Operation(
                operation_id="replayRawEvent",
                method="POST",
                path=f"{_PATH}/{{rawEventId}}/replay",
                scope="operate",
                owner="installation",
                group="Raw events",
                summary="Process a raw event again; what is already known does not change",
                handler=self.replay_one,
                answers={202: ("It waits to be processed.", "RawEventsReplayed")},
                problems=("raw_event_unknown",),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with one page."""
        query = query_of(request)
        most, chosen = query["limit"], _CHOICES.get(query["chosen"], Choice())
        below = int(query["cursor"]) if query["cursor"] else None
        rows = await self._store.call(inbound_journal.rows, _KIND, chosen, below=below, most=most + 1)
        following = str(rows[most - 1]["id"]) if len(rows) > most else None
        return JSONResponse({"events": [_listed(row) for row in rows[:most]], "next": following}, headers=_FRESH)

    async def show_one(self, request: Request) -> Response:
        """Answer with one raw event."""
        row = await self._store.call(inbound_journal.row, _read_id(request))
        return JSONResponse(_whole(row), headers=_FRESH)

    async def show_of_message(self, request: Request) -> Response:
        """Answer with the raw event of a message."""
        message = await self._describe(*named_by_any(request))
        row = await self._store.call(inbound_journal.row_of_message, message["companyId"], int(message["id"]))
        return JSONResponse(_whole(row), headers=_FRESH)

    async def replay_one(self, request: Request) -> Response:
        """Let one raw event be processed again."""
        event_id = _read_id(request)
        _whole(await self._store.call(inbound_journal.row, event_id))
        ids = await self._store.call(recorded(act_of(request), inbound_journal.replay), [event_id])
        return JSONResponse({"replayed": len(ids), "next": None}, status_code=202)

    async def replay_many(self, request: Request) -> Response:
        """Let chosen raw events be processed again."""
        given = checked(await read_json(request), _REPLAY)
        below = int(given["before"]) if given["before"] and _ID.fullmatch(given["before"]) else None
        replayed = recorded(
            act_of(request), _replay, after=lambda done: {"chosen": given["chosen"], "replayed": len(done)}
        )
        ids = await self._store.call(replayed, _CHOICES[given["chosen"]], below)
        following = str(min(ids)) if len(ids) == _AT_ONCE else None
        return JSONResponse({"replayed": len(ids), "next": following}, status_code=202)


def _replay(transaction: Transaction, chosen: Choice, below: int | None) -> list[int]:
    rows = inbound_journal.rows(transaction, _KIND, chosen, below=below, most=_AT_ONCE)
    ids = [row["id"] for row in rows]
    inbound_journal.replay(transaction, ids)
    return ids


def _read_id(request: Request) -> int:
    given = request.path_params["rawEventId"]
    if not _ID.fullmatch(given):
        raise _unknown()
    return int(given)


def _unknown() -> Problem:
    return Problem("raw_event_unknown", "There is no such raw event: it was deleted by retention, or never came.")


def _listed(row: Row) -> Mapping[str, Any]:
    return {
        "id": str(row["id"]),
        "source": row["source"],
        "receivedAt": iso(row["received_at"]),
        "processedAt": iso(row["processed_at"]),
        "attempts": row["attempts"],
        "outcome": row["outcome"] or None,
        "bytes": row["size"],
    }


def _whole(row: Row | None) -> Mapping[str, Any]:
    if row is None:
        raise _unknown()
    body: bytes = row["body"]
    return {**_listed({**row, "size": len(body)}), "body": body.decode(errors="replace")}
