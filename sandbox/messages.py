"""Accepts a message of a business, on the Graph API and at 360dialog alike, since 360dialog passes it on."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from sandbox.config import Number
from sandbox.connection import Cut, Hang
from sandbox.faults import Fault
from sandbox.graph_errors import GraphError
from sandbox.media import links, problem_of_linked, require_sendable
from sandbox.media_calls import fault_answer
from sandbox.media_links import Linked
from sandbox.openapi.validators import Violation
from sandbox.request_bodies import in_lower_case, read_body
from sandbox.state import Sandbox
from shared.fail_points import hit

# Meta accepts numbers with plus signs, blanks, hyphens and brackets, and keeps the digits
_PHONE: Final = re.compile(r"[+\d\s()-]+")
_NOT_DIGITS: Final = re.compile(r"\D")
_BROKEN_PARAMETER: Final = re.compile(r"[\n\r\t]| {5,}")
"""What Meta refuses in a template's parameter: line breaks, tabs, five or more blanks in a row."""
_JSON: Final = {"content-type": "application/json; charset=UTF-8"}


def wamid(party: str, *, outgoing: bool) -> str:
    """Return a new message id of Meta's form: base64 over the other party, the direction and a random name."""
    name = secrets.token_hex(9).upper() if outgoing else "3A" + secrets.token_hex(9).upper()
    who = party.encode()
    raw = (
        # as real ids, as far as their bytes are known: a binary record of party, direction (0x11 out, 0x12 in) and name
        b"\x1c\x18"
        + bytes((len(who) & 0xFF,))
        + who
        + b"\x15\x02\x00"
        + (b"\x11" if outgoing else b"\x12")
        + b"\x18"
        + bytes((len(name),))
        + name.encode()
        + b"\x00"
    )
    return "wamid." + base64.b64encode(raw).decode()


_WORDS: Final[Mapping[str, str]] = {
    "maxLength": "(#100) Param {param} must be at most {limit} characters long.",
    "minLength": "(#100) Param {param} must be at least {limit} characters long.",
    "maxItems": "(#100) Param {param} must have at most {limit} elements.",
    "minItems": "(#100) Param {param} must have at least {limit} elements.",
    "enum": "(#100) Param {param} must be one of {{{limit}}}.",
    "type": "(#100) Param {param} must be of type {limit}.",
    "additionalProperties": "(#100) Unexpected key {limit} on param {param}.",
}
"""Approximately Meta's wording when a parameter violates this keyword of its schema."""


def refusal(violation: Violation) -> GraphError:
    """Return Meta's error for a body that violates its schema."""
    keyword, path, limit = violation
    first, *rest = path or ("root",)
    param = str(first) + "".join(f"['{step}']" if isinstance(step, str) else f"[{step}]" for step in rest)
    if keyword == "required" and limit == "messaging_product":
        return GraphError(100, message="(#100) The parameter messaging_product is required.")
    if keyword == "required":
        return GraphError(131008, details=f"Parameter {f'{param}[{limit!r}]' if path else limit} is missing")
    if keyword in _WORDS:
        shown = ", ".join(map(str, limit)) if isinstance(limit, list) else limit
        return GraphError(100, message=_WORDS[keyword].format(param=param, limit=shown))
    return GraphError(131009, details=f"Parameter {param} is not valid ({keyword or 'it cannot be read'})")


def _recipient(body: Mapping[str, Any], number: Number) -> str:
    """Return the recipient: digits, a group's id, or a business-scoped user id. Raises `GraphError` when it is none."""
    to = body.get("to")
    if to is None:
        # `recipient` names a business-scoped user id in place of `to`
        recipient: str | None = body.get("recipient")
        if recipient is None:
            raise GraphError(131008, details="Parameter 'to' is missing")
        return recipient
    # a group's id is opaque, not a number
    if body.get("recipient_type") == "group":
        return str(to)
    digits = _NOT_DIGITS.sub("", to)
    # E.164 allows fifteen digits
    if not _PHONE.fullmatch(to) or not 5 <= len(digits) <= 15:
        raise GraphError(131009, details="Parameter 'to' is not a phone number")
    if digits == number.display_phone_number:
        raise GraphError(131021, details="The recipient's number is the sender's own")
    return digits


def _require_message_ids(body: Mapping[str, Any]) -> None:
    """Raise `GraphError` when a read receipt, a reaction or a quote refers to something other than a message, for
    example to a call (`wacid.…`).
    """
    reaction, context = body.get("reaction"), body.get("context")
    named = {
        "message_id": body.get("message_id") if "status" in body else None,
        "reaction['message_id']": reaction.get("message_id") if isinstance(reaction, Mapping) else None,
        "context['message_id']": context.get("message_id") if isinstance(context, Mapping) else None,
    }
    for parameter, given in named.items():
        # `<…>` is a blank in the examples of Meta's own document
        if given is not None and not str(given).startswith(("wamid.", "<")):
            raise GraphError(131009, details=f"Parameter {parameter} is not a valid WhatsApp message ID")


def _require_plain_parameters(body: Mapping[str, Any]) -> None:
    """Raise `GraphError` when a text for a template has line breaks, tabs or more than four blanks in a row (Meta's
    rule for parameters).
    """
    template = body.get("template")
    components = template.get("components", ()) if isinstance(template, Mapping) else ()
    for component in components:
        for parameter in component.get("parameters", ()):
            if parameter.get("type") == "text" and _BROKEN_PARAMETER.search(str(parameter.get("text", ""))):
                raise GraphError(
                    132018,
                    details="Param text cannot have new-line/tab characters or more than 4 consecutive spaces",
                )


def _encoded(answer: Mapping[str, Any]) -> Response:
    return Response(json.dumps(answer).encode(), headers=_JSON)


def error_response(error: GraphError) -> Response:
    """Return `error` as an answer."""
    return Response(error.encoded(), error.http_status, headers=_JSON)


class _Call(NamedTuple):
    """One call to `/messages`; `about` stands in every ledger entry of it."""

    sandbox: Sandbox
    channel: str
    number: Number
    body: Mapping[str, Any]
    about: Mapping[str, str]


async def take(sandbox: Sandbox, channel: str, number: Number, request: Request) -> Response:
    """Validate a call to `/messages` and accept it, or apply an armed fault. Every outcome is in the ledger.

    Raises:
        GraphError: the body is not JSON.
    """
    body = in_lower_case(await read_body(request))
    # read before the body is validated, since the ledger names the message of a refusal too
    callback = body.get("biz_opaque_callback_data", "")
    call = _Call(
        sandbox,
        channel,
        number,
        body,
        {"phone_number_id": number.phone_number_id, "callback": callback if isinstance(callback, str) else ""},
    )
    try:
        to = _checked(call)
    except GraphError as error:
        sandbox.ledger.append(
            channel,
            "refused",
            code=error.code,
            http_status=error.http_status,
            details=error.details or error.message,
            **call.about,
        )
        return error_response(error)
    if to is None:
        return _read(call)
    # after the checks: a fault is used up only by a message that would have been accepted
    fault = sandbox.faults.take(("before", "after"), channel=channel, phone_number_id=number.phone_number_id, to=to)
    if fault and fault.is_before:
        sandbox.ledger.append(
            channel, "refused", fault=fault.name, code=fault.code, http_status=fault.http_status, to=to, **call.about
        )
        return (
            Hang(sandbox.released)
            if fault.name == "hang"
            else Cut()
            if fault.name == "cut_before"
            else fault_answer(fault)
        )
    return await _accept(call, to, fault)


def _read(call: _Call) -> Response:
    """Accept a read receipt, with or without typing, or apply an armed fault."""
    sandbox = call.sandbox
    fault = sandbox.faults.take(
        ("before", "after"), channel=call.channel, phone_number_id=call.number.phone_number_id, to="", call="read"
    )
    if fault and fault.is_before:
        sandbox.ledger.append(
            call.channel, "refused", fault=fault.name, code=fault.code, http_status=fault.http_status, **call.about
        )
        return (
            Hang(sandbox.released)
            if fault.name == "hang"
            else Cut()
            if fault.name == "cut_before"
            else fault_answer(fault)
        )
    sandbox.ledger.append(
        call.channel,
        "read_by_business",
        message_id=call.body["message_id"],
        typing="typing_indicator" in call.body,
        **call.about,
    )
    # a read receipt causes no webhook: its only trace is in the ledger
    return Cut() if fault and fault.name == "cut_after" else _encoded({"success": True})


def _checked(call: _Call) -> str | None:
    """Return the recipient, None for a read receipt. Raises `GraphError` when the schema, the recipient or a
    limit forbids it.
    """
    if violation := call.sandbox.validator.violation(call.body):
        raise refusal(violation)
    _require_message_ids(call.body)
    if "status" in call.body:
        return None
    _require_plain_parameters(call.body)
    to = _recipient(call.body, call.number)
    require_sendable(call.sandbox.shelf, call.number.phone_number_id, call.body)
    # last: a message that is refused for another reason does not count against the limits
    if code := call.sandbox.limits.passed(call.number.phone_number_id, to):
        raise GraphError(code)
    return to


async def _fetched(sandbox: Sandbox, sent_as: str, address: str) -> Linked:
    one = await sandbox.links.fetch(address)
    problem = one.problem or problem_of_linked(sent_as, one.mime_type, one.size, animated=one.is_animated)
    return replace(one, problem=problem)


async def _accept(call: _Call, to: str, fault: Fault | None) -> Response:
    sandbox, body = call.sandbox, call.body
    # WhatsApp's number, which may differ from the dialled one
    to = sandbox.knobs.wa_ids.get(to, to)
    message_id = wamid(to, outgoing=True)
    fails = fault is not None and fault.name == "fail_later"
    extra: dict[str, Any] = {"fault": fault.name, "code": fault.code, "details": fault.details} if fault else {}
    if sandbox.knobs.fetch_links and (named := links(body)):
        fetched = [await _fetched(sandbox, sent_as, address) for sent_as, address in named]
        extra |= {"links": [asdict(one) for one in fetched]}
        if problem := next((one.problem for one in fetched if one.problem), ""):
            # Meta has answered 200 by then, and reports it by webhook
            fails, extra = True, {"code": 131053, "details": f"Media upload error: {problem}", **extra}
    entry = sandbox.ledger.append(
        call.channel,
        "accepted",
        **call.about,
        id=message_id,
        to=to,
        recipient_type=body.get("recipient_type", "individual"),
        type=body.get("type", "text"),
        message=body,
        plan=["failed"] if fails else list(sandbox.knobs.statuses),
        **extra,
    )
    # between the ledger entry and its consequences: a kill here leaves a provider that has accepted the message and
    # sends no webhook
    hit("provider.taken")
    latency_s = sandbox.knobs.latency_ms / 1000
    # delays count from the time of a normal response, so that with the fault `slow` the webhook overtakes it
    sandbox.outbox.schedule(entry, after_s=latency_s)
    if fault and fault.name == "cut_after":
        return Cut()
    if fault and fault.name == "hang_after":
        return Hang(sandbox.released)
    if fault and fault.name == "slow":
        latency_s += fault.latency_ms / 1000
    if latency_s:
        await asyncio.sleep(latency_s)
    if fault and fault.name == "5xx_after_accept":
        return fault_answer(fault, 502)
    return _encoded(_answer(body, to, message_id))


def _answer(body: Mapping[str, Any], to: str, message_id: str) -> dict[str, Any]:
    # `wa_id` is WhatsApp's number, `input` the dialled one
    contact = {"input": body["to"], "wa_id": to} if "to" in body else {"input": to, "user_id": to}
    message = {"id": message_id, "message_status": "accepted"} if body.get("type") == "template" else {"id": message_id}
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]}


def customer_message(number: Number, sender: str, content: Mapping[str, Any], quoted: str = "") -> dict[str, Any]:
    """Return a customer's message in the form of a webhook.

    Args:
        sender: digits. content: `type` and the object of that type. quoted: id of the message that it replies to.
    """
    context = {"context": {"from": number.display_phone_number, "id": quoted}} if quoted else {}
    return {
        **context,
        "from": sender,
        "id": wamid(sender, outgoing=False),
        "timestamp": str(int(time.time())),
        **content,
    }
