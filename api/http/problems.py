"""Everything that can go wrong with a request, as data (RFC 9457). docs/problems.md lists the same rows and a test compares them.

A type is a promise to clients: rows are added, never renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from shared.errors import BulkheadError, Refused

TYPE_PREFIX: Final = "urn:bulkhead:problem:"
MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, kw_only=True)
class ProblemType:
    """One way to be refused: HTTP status, title, and what the client can do about it."""

    status: int
    title: str
    remedy: str


PROBLEM_TYPES: Final[Mapping[str, ProblemType]] = {
    "body_not_json": ProblemType(
        status=400,
        title="The body is not JSON",
        remedy="Send one JSON value in UTF-8 (RFC 8259), each name once, without NaN or Infinity.",
    ),
    "header_invalid": ProblemType(
        status=400, title="A header cannot be used", remedy="Correct the header that `header` names."
    ),
    "form_invalid": ProblemType(
        status=400,
        title="The form cannot be read",
        remedy="Send multipart/form-data (RFC 7578) with a boundary, names, and texts in UTF-8.",
    ),
    "query_invalid": ProblemType(
        status=400, title="A query parameter cannot be used", remedy="Correct the parameter that `parameter` names."
    ),
    "key_missing": ProblemType(
        status=401, title="An API key is needed", remedy="Send `Authorization: Bearer KEY` or `X-API-Key: KEY`."
    ),
    "key_invalid": ProblemType(
        status=401,
        title="The API key is wrong",
        remedy="The key is the setting API_KEY, or stands in BULKHEAD_HOME/api_key.",
    ),
    "path_unknown": ProblemType(
        status=404, title="There is nothing at this path", remedy="All paths are listed in /docs and /openapi.json."
    ),
    "company_unknown": ProblemType(status=404, title="There is no such company", remedy="Check `companyId`."),
    "phone_index_unknown": ProblemType(
        status=404,
        title="The company has no connection with this index",
        remedy="GET /api/v2/connections/{companyId} lists its connections.",
    ),
    "message_unknown": ProblemType(
        status=404,
        title="The chat has no such message",
        remedy="Use the path in the `Location` header of the answer that accepted the message.",
    ),
    "media_unknown": ProblemType(
        status=404,
        title="The company has no such file",
        remedy="Use `media.url` of a message, or what an upload answered.",
    ),
    "code_absent": ProblemType(
        status=404,
        title="There is no code to scan now",
        remedy="Codes exist while the session's `state` is `needs_link`; ask again when it is.",
    ),
    "task_unknown": ProblemType(
        status=404,
        title="There is no such task",
        remedy="Use the path in the `Location` header of the answer that began it; tasks are kept for 7 days.",
    ),
    "template_unknown": ProblemType(
        status=404,
        title="There is no such template",
        remedy="GET /api/v2/templates/{companyId}/{phoneIndex} lists those that are known.",
    ),
    "process_unknown": ProblemType(
        status=404, title="There is no such process kind", remedy="`known` lists the kinds."
    ),
    "method_not_allowed": ProblemType(
        status=405, title="The path does not take this method", remedy="The `Allow` header lists the methods."
    ),
    "body_late": ProblemType(
        status=408, title="The body did not arrive in time", remedy="Send the request again; a body has 10 seconds."
    ),
    "idempotency_key_reused": ProblemType(
        status=409,
        title="The idempotency key was used for another request",
        remedy="Use a new key for each message; `messageId` is the earlier one.",
    ),
    "message_not_queued": ProblemType(
        status=409,
        title="The message is not queued any more",
        remedy="Look at `state`: it is being sent, or it failed; only what is queued can be cancelled.",
    ),
    "message_not_sent": ProblemType(
        status=409,
        title="The message has not been sent",
        remedy="Look at `state`: what was not sent, or is deleted, cannot be edited, answered or forwarded.",
    ),
    "not_a_dead_letter": ProblemType(
        status=409,
        title="The message is no dead letter",
        remedy="Look at `state`: only what failed is redriven; one in doubt that is held is resolved.",
    ),
    "not_held": ProblemType(
        status=409,
        title="The message is not left to a human",
        remedy="Look at `state`: only a message in doubt that is held can be resolved.",
    ),
    "company_exists": ProblemType(
        status=409, title="There is such a company already", remedy="Use it, or choose another `companyId`."
    ),
    "connection_exists": ProblemType(
        status=409,
        title="The company has a connection with this index already",
        remedy="Change it with PATCH, or leave `phoneIndex` out.",
    ),
    "account_in_use": ProblemType(
        status=409,
        title="Another connection serves this account",
        remedy="A provider's number or page has one connection: remove the other, or change its credentials.",
    ),
    "messages_open": ProblemType(
        status=409,
        title="The connection has messages that are not finished",
        remedy="`messages` of them wait: let them leave, or remove the connection with `?force=true`, which fails them.",
    ),
    "connection_removed": ProblemType(
        status=409,
        title="Connection was removed",
        remedy="Send the message again through another connection.",
    ),
    "task_conflict": ProblemType(
        status=409,
        title="The state of things does not allow it",
        remedy="`detail` says what is in the way; `taskId` names the task that found it.",
    ),
    "body_too_large": ProblemType(status=413, title="The body is too large", remedy="Stay below `limit` bytes."),
    "media_type_unsupported": ProblemType(
        status=415,
        title="The body's media type is not supported",
        remedy="Send `Content-Type: application/json`, in UTF-8 and not compressed.",
    ),
    "range_invalid": ProblemType(status=416, title="The file has no such part", remedy="Stay within `size` bytes."),
    "body_invalid": ProblemType(
        status=422,
        title="The body is not what this operation takes",
        remedy="`errors` lists each wrong place as a JSON pointer with the reason.",
    ),
    "text_empty": ProblemType(
        status=422, title="The text is empty", remedy="Send at least one character that is not blank."
    ),
    "text_too_long": ProblemType(
        status=422,
        title="The text is too long for the channel",
        remedy="Stay within `limit` characters (Unicode code points), or send several messages.",
    ),
    "media_too_large": ProblemType(
        status=422,
        title="The file is too large for the channel",
        remedy="Stay within `limit` bytes; the connection's capabilities say it for each type.",
    ),
    "media_type_refused": ProblemType(
        status=422,
        title="The channel does not take files of this kind",
        remedy="Send one of `allowed`; with none, say by `mimetype` or `filename` what it is.",
    ),
    "chat_invalid": ProblemType(
        status=422,
        title="The chat id cannot be used",
        remedy="Use a phone number with country code, or an id that the channel gave you.",
    ),
    "quoted_message_unknown": ProblemType(
        status=422,
        title="The quoted message is not in this chat",
        remedy="Name a message of the same chat and connection that was sent or received; one that is still queued cannot be quoted.",
    ),
    "message_not_received": ProblemType(
        status=422,
        title="Nothing was received that could be meant",
        remedy="Only what came in can be marked as read, or be answered with typing.",
    ),
    "send_at_invalid": ProblemType(
        status=422,
        title="The message cannot be sent at this time",
        remedy="Use ISO 8601 with a time zone (`2026-12-01T09:00:00+01:00`), at most 30 days ahead.",
    ),
    "unsupported_operation": ProblemType(
        status=422,
        title="The connection cannot do this",
        remedy="`reason` is `channel` (the channel has no such operation) or `not_yet` (Bulkhead cannot do it yet); see the connection's capabilities.",
    ),
    "template_unusable": ProblemType(
        status=422,
        title="The provider would refuse this template",
        remedy="`templateStatus` says what it is, null when the account has none; POST /api/v2/templates/{companyId}/{phoneIndex}/sync reads them anew.",
    ),
    "task_invalid": ProblemType(
        status=422,
        title="It cannot be done as it was asked",
        remedy="`detail` says what would be right; `taskId` names the task that found it.",
    ),
    "internal_error": ProblemType(
        status=500,
        title="An error that nobody foresaw",
        remedy="Report `instance`: the log lines of the request carry it as `correlation_id`.",
    ),
    "task_failed": ProblemType(
        status=500,
        title="A process could not do it, and nobody foresaw why",
        remedy="Report `taskId`: the log lines of the task carry it as `correlation_id`.",
    ),
    "provider_refused": ProblemType(
        status=502,
        title="The provider refused it",
        remedy="`detail` holds the provider's words, `providerCode` its code where it gave one.",
    ),
    "provider_unreachable": ProblemType(
        status=502,
        title="The provider did not answer",
        remedy="Try again; what was done before it went away is not done twice.",
    ),
    "task_interrupted": ProblemType(
        status=503,
        title="The process that did it ended before it was finished",
        remedy="Look at what is, then ask again.",
    ),
    "task_expired": ProblemType(
        status=504,
        title="Nobody finished it in time",
        remedy="Check in /health/all that the process that serves the connection runs, then ask again.",
    ),
    "database_unavailable": ProblemType(
        status=503,
        title="The database does not answer",
        remedy="Nothing was accepted. Send the request again after `Retry-After` seconds.",
    ),
    "too_many_bodies": ProblemType(
        status=503,
        title="Too many request bodies at once",
        remedy="Nothing was accepted. Send the request again after `Retry-After` seconds, or fewer large ones at a time.",
    ),
    "storage_unavailable": ProblemType(
        status=503,
        title="The storage for files does not answer",
        remedy="Nothing was accepted. Send the request again after `Retry-After` seconds.",
    ),
    "acceptance_unknown": ProblemType(
        status=503,
        title="The database was lost while the message was written",
        remedy="The message may have been accepted. Sent again with the same `Idempotency-Key` it is surely accepted once.",
    ),
}


_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "acceptance_unknown": {"Retry-After": "2"},
    "storage_unavailable": {"Retry-After": "2"},
    # a file that is too large is not read to its end, so that the connection cannot carry another request
    "media_too_large": {"Connection": "close"},
}
"""Headers of the answer to a domain's refusal, by its code."""


class Problem(BulkheadError):
    """Raised when a request is refused.

    Attributes:
        name: row of `PROBLEM_TYPES`. detail: what is wrong with this request; never message text, phone numbers or keys.
        headers: to be added to the answer. members: extension members, for example `field` and `limit`.
    """

    def __init__(self, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        self.name, self.detail, self.headers, self.members = name, detail, dict(headers or {}), members
        self.kind = PROBLEM_TYPES[name]
        super().__init__(f"{name}: {detail}")

    @classmethod
    def of(cls, refused: Refused) -> Problem:
        """Return the problem that a domain's refusal is for clients."""
        field = {"field": refused.field} if refused.field else {}
        return cls(refused.code, refused.sentence, headers=_HEADERS.get(refused.code), **field, **refused.details)

    def response(self, instance: str) -> Response:
        """Return the answer. `instance`: the request's correlation id."""
        body = {
            "type": TYPE_PREFIX + self.name,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            **self.members,
        }
        return Response(
            json.dumps(body, ensure_ascii=False).encode(),
            status_code=self.kind.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def database_unavailable() -> Problem:
    """Return the refusal of a request that surely changed nothing."""
    return Problem(
        "database_unavailable", "PostgreSQL did not answer in time; nothing was accepted.", headers={"Retry-After": "2"}
    )
