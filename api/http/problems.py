"""Problem types of the API, as data (RFC 9457). docs/problems.md lists the same rows; a test compares them.

A type is part of the contract: rows are added, never renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from shared.errors import OUTAGES, BulkheadError, Refused, StoreUnavailable

# a URN and not an address (RFC 9457 allows any URI): a type stays valid without a server behind it
TYPE_PREFIX: Final = "urn:bulkhead:problem:"
MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, kw_only=True)
class ProblemType:
    """One kind of refusal: HTTP status, title, and how the client can resolve it."""

    status: int
    title: str
    remedy: str


PROBLEM_TYPES: Final[Mapping[str, ProblemType]] = {
    "body_not_json": ProblemType(
        status=400,
        title="Body is not JSON",
        remedy="Send one JSON value in UTF-8 (RFC 8259), each name once, without NaN or Infinity.",
    ),
    "header_invalid": ProblemType(status=400, title="Invalid header", remedy="Correct the header that `header` names."),
    "form_invalid": ProblemType(
        status=400,
        title="Invalid form",
        remedy="Send multipart/form-data (RFC 7578) with a boundary, names, and texts in UTF-8.",
    ),
    "query_invalid": ProblemType(
        status=400, title="Invalid query parameter", remedy="Correct or remove the parameter that `parameter` names."
    ),
    "key_missing": ProblemType(
        status=401, title="API key required", remedy="Send `Authorization: Bearer KEY` or `X-API-Key: KEY`."
    ),
    "key_invalid": ProblemType(
        status=401,
        title="Invalid API key",
        remedy="Use the setting API_KEY, the content of BULKHEAD_HOME/api_key, or a key that was created by "
        "POST /api/v2/keys and is neither expired nor revoked.",
    ),
    "scope_missing": ProblemType(
        status=403,
        title="API key without the needed scope",
        remedy="Use a key whose scopes have `scope`.",
    ),
    "installation_only": ProblemType(
        status=403,
        title="Operation not for keys of companies",
        remedy="Use a key that belongs to no company; this one reaches its own company only.",
    ),
    "company_suspended": ProblemType(
        status=403,
        title="Company is suspended",
        remedy="Nothing is sent for it, and its keys are refused, until an operator resumes it.",
    ),
    "path_unknown": ProblemType(
        status=404, title="Path not found", remedy="All paths are listed in /docs and /openapi.json."
    ),
    "company_unknown": ProblemType(status=404, title="Company not found", remedy="Check `companyId`."),
    "phone_index_unknown": ProblemType(
        status=404,
        title="Connection not found",
        remedy="GET /api/v2/connections/{companyId} lists its connections.",
    ),
    "key_unknown": ProblemType(
        status=404,
        title="API key not found",
        remedy="GET /api/v2/keys lists the keys.",
    ),
    "message_unknown": ProblemType(
        status=404,
        title="Message not found in this chat",
        remedy="Use the path in the `Location` header of the answer that accepted the message.",
    ),
    "media_unknown": ProblemType(
        status=404,
        title="File not found",
        remedy="Use `media.url` of a message, or the URL that an upload returned.",
    ),
    "code_absent": ProblemType(
        status=404,
        title="No QR code available",
        remedy="Codes exist while the session's `state` is `needs_link`; poll until then.",
    ),
    "task_unknown": ProblemType(
        status=404,
        title="Task not found",
        remedy="Use the path in the `Location` header of the response that created it; tasks are kept for 7 days.",
    ),
    "function_unknown": ProblemType(
        status=404,
        title="Function not found",
        remedy="GET /api/v2/companies/{companyId}/functions lists the names.",
    ),
    "service_unknown": ProblemType(
        status=404,
        title="Service not found",
        remedy="GET /api/v2/companies/{companyId}/services lists them.",
    ),
    "template_unknown": ProblemType(
        status=404,
        title="Template not found",
        remedy="GET /api/v2/templates/{companyId}/{phoneIndex} lists the known ones.",
    ),
    "hook_unknown": ProblemType(
        status=404, title="Webhook not found", remedy="GET /api/v2/hooks/{companyId} lists its webhooks."
    ),
    "export_unknown": ProblemType(
        status=404,
        title="Export not found",
        remedy="Use `result.url` of the task that made it, before `result.expiresAt`; POST "
        "/api/v2/companies/{companyId}/export makes another one.",
    ),
    "secret_unknown": ProblemType(
        status=404,
        title="Secret not found",
        remedy="GET /api/v2/companies/{companyId}/secrets lists the names.",
    ),
    "document_unknown": ProblemType(
        status=404, title="Document not found", remedy="GET /api/v2/documents/{companyId} lists the documents."
    ),
    "document_type_unsupported": ProblemType(
        status=415,
        title="Document of a type that cannot be indexed",
        remedy="Save it as PDF, DOCX, plain text or Markdown (UTF-8) and upload that.",
    ),
    "document_busy": ProblemType(
        status=409, title="Document is being indexed", remedy="Ask again when its `status` has changed."
    ),
    "too_many_documents": ProblemType(
        status=409, title="Company has too many documents", remedy="Remove some, or join several into one."
    ),
    "contact_unknown": ProblemType(
        status=404, title="Contact not found", remedy="GET /api/v2/contacts/{companyId} lists the contacts."
    ),
    "contact_refused": ProblemType(
        status=409,
        title="Contact cannot be changed like this",
        remedy="`detail` says why; GET the contact and try again with what it has.",
    ),
    "conversation_unknown": ProblemType(
        status=404,
        title="Conversation not found",
        remedy="GET /api/v2/conversations/{companyId} lists the conversations.",
    ),
    "conversation_refused": ProblemType(
        status=409,
        title="Conversation cannot be changed like this",
        remedy="`state` is the state that it has; or, with the `reason` no_assistant, set `enableAssistant` of the "
        "company.",
    ),
    "contact_file_invalid": ProblemType(
        status=422,
        title="File of contacts cannot be read",
        remedy="`detail` says why; nothing of it was taken.",
    ),
    "contact_import_open": ProblemType(
        status=409,
        title="Contacts are being imported",
        remedy="Wait until the task `taskId` has ended; a company imports one file at a time.",
    ),
    "raw_event_unknown": ProblemType(
        status=404, title="Raw event not found", remedy="List them; retention deletes processed ones."
    ),
    "silence_unknown": ProblemType(
        status=404, title="Silence not found", remedy="GET /api/v2/alerts/silences lists those that last."
    ),
    "process_unknown": ProblemType(status=404, title="Process kind not found", remedy="`known` lists the kinds."),
    "method_not_allowed": ProblemType(
        status=405, title="Method not allowed", remedy="The `Allow` header lists the methods."
    ),
    "body_late": ProblemType(
        status=408,
        title="Body not received in time",
        remedy="Send the request again; docs/api.md lists the time that each kind of body has.",
    ),
    "events_expired": ProblemType(
        status=410,
        title="Events no longer kept",
        remedy="Begin again without `after`, or with `after=latest`; read what was missed from the chats themselves.",
    ),
    "idempotency_key_reused": ProblemType(
        status=409,
        title="Idempotency key reused for another request",
        remedy="Use a new key for each message; `messageId` is the earlier one.",
    ),
    "message_id_reused": ProblemType(
        status=409,
        title="Message id reused for another message",
        remedy="Give each message of a sender an id of its own; the task `taskId` answers the earlier one.",
    ),
    "message_not_queued": ProblemType(
        status=409,
        title="Message is no longer queued",
        remedy="Check `state`: it is being sent, or it failed; only queued messages can be cancelled.",
    ),
    "message_not_sent": ProblemType(
        status=409,
        title="Message has not been sent",
        remedy="Check `state`: a message that was not sent, or is deleted, cannot be edited, answered or forwarded.",
    ),
    "not_a_dead_letter": ProblemType(
        status=409,
        title="Message is not a dead letter",
        remedy="Check `state`: only failed messages are redriven; held messages in doubt are resolved.",
    ),
    "not_held": ProblemType(
        status=409,
        title="Message is not held for an operator",
        remedy="Check `state`: only a held message in doubt can be resolved.",
    ),
    "key_revoked": ProblemType(
        status=409,
        title="API key was revoked",
        remedy="Create another key; a revoked one stays revoked.",
    ),
    "too_many_silences": ProblemType(
        status=409, title="Too many silences", remedy="End some: DELETE /api/v2/alerts/silences/{silenceId}."
    ),
    "too_many_hooks": ProblemType(
        status=409, title="Company has too many webhooks", remedy="Remove one, or let one serve several purposes."
    ),
    "too_many_secrets": ProblemType(
        status=409, title="Company has too many secrets", remedy="Remove those that nothing uses any more."
    ),
    "too_many_functions": ProblemType(
        status=409, title="Company has too many functions", remedy="Remove those that the assistant does not need."
    ),
    "too_many_services": ProblemType(
        status=409, title="Company has too many services", remedy="Use one service for several kinds of appointments."
    ),
    "company_exists": ProblemType(
        status=409, title="Company already exists", remedy="Use it, or choose another `companyId`."
    ),
    "company_deleting": ProblemType(
        status=409,
        title="Company is being deleted",
        remedy="Its task shows how far it is; a company with this id can be created again when it has ended.",
    ),
    "connection_exists": ProblemType(
        status=409,
        title="Connection index already in use",
        remedy="Change it with PATCH, or leave `phoneIndex` out.",
    ),
    "account_in_use": ProblemType(
        status=409,
        title="Account already in use by another connection",
        remedy="A provider's number or page has one connection: remove the other one, or change its credentials.",
    ),
    "messages_open": ProblemType(
        status=409,
        title="Connection has unfinished messages",
        remedy="`messages` of them wait: let them leave, or remove the connection with `?force=true`, which fails "
        "them.",
    ),
    "connection_removed": ProblemType(
        status=409,
        title="Connection was removed",
        remedy="Send the message again through another connection.",
    ),
    "other_world": ProblemType(
        status=409,
        title="Message was accepted for the other world",
        remedy="Start with the addresses for which it was accepted (sandbox or live) to send it, or leave it as it is.",
    ),
    # `task_…`: reported by the process that carried out the task
    "task_conflict": ProblemType(
        status=409,
        title="Conflict with the current state",
        remedy="`detail` is the obstacle; `taskId` is the task that found it.",
    ),
    "version_outdated": ProblemType(
        status=412,
        title="Changed since it was read",
        remedy="Read it again, and repeat the change with `If-Match` of that answer if it is still right.",
    ),
    "body_too_large": ProblemType(status=413, title="Body too large", remedy="Stay within `limit` bytes."),
    "media_type_unsupported": ProblemType(
        status=415,
        title="Unsupported media type of the body",
        remedy="Send JSON with `Content-Type: application/json`, or a form where the operation takes a file.",
    ),
    "range_invalid": ProblemType(status=416, title="Range not satisfiable", remedy="Stay within `size` bytes."),
    "body_invalid": ProblemType(
        status=422,
        title="Invalid body",
        remedy="`errors` lists each wrong place as a JSON pointer with the reason.",
    ),
    "text_empty": ProblemType(
        status=422, title="Text is empty", remedy="Send at least one character that is not blank."
    ),
    "text_too_long": ProblemType(
        status=422,
        title="Text too long for the channel",
        remedy="Stay within `limit` characters (Unicode code points; on Instagram bytes of UTF-8), or send several "
        "messages.",
    ),
    "media_too_large": ProblemType(
        status=422,
        title="File too large for the channel",
        remedy="Stay within `limit` bytes; the connection's capabilities list the limit of each type.",
    ),
    "media_type_refused": ProblemType(
        status=422,
        title="File type not supported by the channel",
        remedy="Send one of `allowed`; when it is empty, give the type by `mimetype` or `filename`.",
    ),
    "chat_invalid": ProblemType(
        status=422,
        title="Invalid chat id",
        remedy="Use a phone number with country code, or a chat id that the channel delivered.",
    ),
    "quoted_message_unknown": ProblemType(
        status=422,
        title="Quoted message cannot be quoted in this chat",
        remedy="Name a message of the same chat and connection that was sent or received; one that is still queued "
        "cannot be quoted.",
    ),
    "message_not_received": ProblemType(
        status=422,
        title="No received message to act on",
        remedy="Only received messages can be marked as read, or be answered with typing.",
    ),
    "send_at_invalid": ProblemType(
        status=422,
        title="Invalid send time",
        remedy="Use ISO 8601 with a time zone (`2026-12-01T09:00:00+01:00`), at most 30 days ahead.",
    ),
    "unsupported_operation": ProblemType(
        status=422,
        title="Operation not supported by the connection",
        remedy="`reason` is `channel` (the channel has no such operation) or `not_yet` (Bulkhead cannot do it yet); "
        "see the connection's capabilities.",
    ),
    "template_unusable": ProblemType(
        status=422,
        title="Template would be rejected by the provider",
        remedy="`templateStatus` is its status, null when the account has no such template; POST "
        "/api/v2/templates/{companyId}/{phoneIndex}/sync reads them again.",
    ),
    "task_invalid": ProblemType(
        status=422,
        title="Operation cannot be carried out as requested",
        remedy="`detail` is what to change; `taskId` is the task that found it.",
    ),
    "limit_exceeded": ProblemType(
        status=429,
        title="Limit of the API key or its company exceeded",
        remedy="Nothing was done. Send the request again after `Retry-After` seconds; `policy` names the limit.",
    ),
    "internal_error": ProblemType(
        status=500,
        title="Internal error",
        remedy="Report `instance`: the log lines of the request carry it as `correlation_id`.",
    ),
    "task_failed": ProblemType(
        status=500,
        title="Internal error while carrying out the task",
        remedy="Report `taskId`: the log lines of the task carry it as `correlation_id`.",
    ),
    "provider_refused": ProblemType(
        status=502,
        title="Request rejected by the provider",
        remedy="`detail` holds the provider's message, `providerCode` its code where it sent one.",
    ),
    "provider_unreachable": ProblemType(
        status=502,
        title="Provider unreachable",
        remedy="Try again; what was done before the connection was lost is not done twice.",
    ),
    "task_interrupted": ProblemType(
        status=503,
        title="Task was interrupted",
        remedy="The process that carried it out ended first. Check the current state, then send the request again.",
    ),
    "task_expired": ProblemType(
        status=504,
        title="Task not finished in time",
        remedy="Check in /health/all that the process that serves the connection runs, then send the request again.",
    ),
    "database_unavailable": ProblemType(
        status=503,
        title="Database unavailable",
        remedy="Nothing was accepted. Send the request again after `Retry-After` seconds.",
    ),
    "orchestrator_unavailable": ProblemType(
        status=503,
        title="Orchestrator unavailable",
        remedy="Start `bulkhead` on this host, or its service manager; processes go on meanwhile.",
    ),
    "too_many_waiting": ProblemType(
        status=503,
        title="Too many requests wait for events",
        remedy="Ask without `Prefer: wait`, or again after `Retry-After` seconds.",
    ),
    "too_many_bodies": ProblemType(
        status=503,
        title="Too many request bodies at once",
        remedy="Nothing was accepted. Send the request again after `Retry-After` seconds, or fewer large ones at a "
        "time.",
    ),
    "storage_unavailable": ProblemType(
        status=503,
        title="File storage unavailable",
        remedy="Nothing was accepted. Send the request again after `Retry-After` seconds.",
    ),
    # unlike the 503s above: after this one the message may exist
    "acceptance_unknown": ProblemType(
        status=503,
        title="Database connection lost during the commit",
        remedy="The message may have been accepted. Repeat the request with the same `Idempotency-Key`: it is then "
        "accepted exactly once.",
    ),
}


_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    # seconds, about the time to restore a connection; only a hint to the client
    "acceptance_unknown": {"Retry-After": "2"},
    "storage_unavailable": {"Retry-After": "2"},
    # a second: a body is in memory only as long as its request lasts
    "too_many_bodies": {"Connection": "close", "Retry-After": "1"},
    # the rest of these bodies is not read, so that the connection cannot carry another request
    "body_late": {"Connection": "close"},
    "body_too_large": {"Connection": "close"},
    "form_invalid": {"Connection": "close"},
    "media_too_large": {"Connection": "close"},
}
"""Response headers for a domain's refusal, by its code."""


class Problem(BulkheadError):
    """Raised when a request is refused.

    Attributes:
        name: row of `PROBLEM_TYPES`. detail: what is wrong with this request; never message text, phone numbers or
            keys.
        headers: to be added to the answer. members: extension members, for example `field` and `limit`.
    """

    def __init__(self, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        self.name, self.detail, self.headers, self.members = name, detail, dict(headers or {}), members
        self.kind = PROBLEM_TYPES[name]
        super().__init__(f"{name}: {detail}")

    @classmethod
    def of(cls, refused: Refused) -> Problem:
        """Convert a domain's refusal to a problem."""
        # extension members (RFC 9457 3.2): clients that do not know them ignore them
        field = {"field": refused.field} if refused.field else {}
        return cls(refused.code, refused.sentence, headers=_HEADERS.get(refused.code), **field, **refused.details)

    def response(self, instance: str) -> Response:
        """Return the answer. `instance`: the request's correlation id."""
        # `title` belongs to the type; `detail` and the members are about this request
        body = {
            "type": TYPE_PREFIX + self.name,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            **self.members,
        }
        return Response(
            # JSON on the wire is UTF-8 (RFC 8259 8.1)
            json.dumps(body, ensure_ascii=False).encode(),
            status_code=self.kind.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def database_unavailable(error: StoreUnavailable) -> Problem:
    """Return the refusal of a request that has certainly changed nothing."""
    # a commit whose answer was lost is not this problem but `acceptance_unknown`
    return Problem(
        "database_unavailable",
        f"{OUTAGES[error.outage].format(what='PostgreSQL')}; nothing was accepted.",
        headers={"Retry-After": "2"},
        reason=error.outage,
    )
