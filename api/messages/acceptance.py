"""Shared by all operations that accept a message: headers, problems, and the response."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS
from api.http.parameters import Parameter
from api.messages.waiting import LONGEST_S, Waiters
from shared.compose.composer import Acceptance
from shared.states import OPEN_MESSAGE_STATES
from shared.store.store import Store
from shared.timestamps import iso

ACCEPTING: Final = (
    Parameter(
        name="Idempotency-Key",
        place="header",
        purpose="1 to 255 visible characters; the same key and body are accepted once.",
        schema={"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    Parameter(
        name="Prefer",
        place="header",
        purpose=f"`wait=N` answers when the message has left, or after N (at most {LONGEST_S}) seconds.",
    ),
)
"""Headers of every operation that accepts a message."""
ANSWERS: Final = {
    202: ("Accepted: it will be sent exactly once.", "AcceptedMessage"),
    200: ("It has left; only with `Prefer: wait`.", "AcceptedMessage"),
}
"""Responses of every operation that accepts a message."""
ACCEPTING_PROBLEMS: Final = ("header_invalid", "idempotency_key_reused", *BODY_PROBLEMS, "acceptance_unknown")
"""Problems of every operation that accepts a message by its body."""


class AcceptanceAnswers:
    """Answers with accepted messages.

    Args:
        stopping: set when the process drains; waits end then.
    """

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        # shared by all operations, so that all waiting clients share one query per interval
        self._waiters = Waiters(store, stopping)

    async def answer(self, accepted: Acceptance, wait_s: int) -> Response:
        """Answer with an accepted message, after `wait_s` seconds or when it has left."""
        state = accepted.state
        if wait_s:
            # None: the database was unavailable. The message is accepted nevertheless: 202
            state = await self._waiters.until_left(accepted.id, wait_s) or state
        # `@` of chat ids is allowed in a path (RFC 3986 3.3), and easier to read unescaped
        place = "/".join(quote(part, safe="@") for part in (accepted.company_id, accepted.chat_id, str(accepted.id)))
        headers = {"Location": f"/api/v2/messages/{place}", "Cache-Control": "no-store"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        if wait_s:
            headers["Preference-Applied"] = f"wait={wait_s}"
        body = {
            "id": str(accepted.id),
            "status": state,
            "companyId": accepted.company_id,
            "chatId": accepted.chat_id,
            "phoneIndex": accepted.phone_index,
            "connectionType": accepted.connection_type,
            "type": accepted.type,
            "held": accepted.held,
            "createdAt": iso(accepted.created_at),
        }
        if accepted.scheduled_for:
            body["sendAt"] = iso(accepted.scheduled_for)
        # without a wait always 202: a repeated request must get the same response, even if its message is sent
        has_left = bool(wait_s) and state not in OPEN_MESSAGE_STATES
        return JSONResponse(body, status_code=200 if has_left else 202, headers=headers)
