"""The control API under `/control/…`: read the ledger, write as a customer, change settings, arm faults. Reachable from
this machine only; see docs/sandbox.md.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import accounts_control, customer_calls
from sandbox.account_calls import CALLS
from sandbox.config import Number
from sandbox.faults import FAULTS
from sandbox.knobs import STATUSES
from sandbox.ledger import LedgerEntry
from sandbox.limits import LimitValues
from sandbox.messages import customer_message
from sandbox.model import control as model_control
from sandbox.state import Sandbox
from sandbox.tally import Tally
from shared.process.endpoints import NUMBER

_WAIT_MAX_S: Final = 60.0
"""Longest wait for a ledger entry, in seconds; a test that needs more asks again."""
_ENTRIES_MAX: Final = 10_000
"""Most entries in one answer: a few megabytes of JSON."""

Call = Callable[[Request], Awaitable[Any]]


class ControlRefused(Exception):
    """Raised when a control call cannot be carried out; the sentence is the answer."""

    def __init__(self, reason: str, http_status: int = 400) -> None:
        self.http_status = http_status
        super().__init__(reason)


_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers by which a proxy says that it passes on the request of another client."""


class LoopbackOnly:
    """Lets calls under `prefix` through only from this machine, and not from a foreign web page that is open in a
    browser here.
    """

    def __init__(self, app: ASGIApp, prefix: str = "/control") -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, or answer 403."""
        if (
            scope["type"] == "http"
            and scope["path"].removeprefix(scope.get("root_path", "")).startswith(self._prefix)
            and not _from_here(scope)
        ):
            await JSONResponse({"error": "the control API answers this machine only"}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _from_here(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    return (
        scope["client"] is not None
        and _is_loopback(scope["client"][0])
        # Host reveals a foreign name that resolves to 127.0.0.1 (DNS rebinding), Origin a foreign page
        and _is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or "")
        and (origin is None or _is_loopback(urlsplit(origin).hostname or ""))
        # a proxy on this machine connects from here for clients elsewhere
        and not any(name in headers for name in _FORWARDED)
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _body(
    request: Request, allowed: Mapping[str, type | tuple[type, ...]], needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the JSON object of a call. Unknown names, wrong types and missing fields are refused, so that no typing
    error goes unnoticed.
    """
    try:
        body = json.loads(await request.body() or b"{}")
    # RecursionError: the decoder raises it for JSON that is nested a thousand levels deep
    except (ValueError, RecursionError):
        raise ControlRefused("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ControlRefused("the body is not a JSON object")
    for name, value in body.items():
        if name not in allowed:
            raise ControlRefused(f"{name}: not known here; known: {', '.join(sorted(allowed))}")
        # `True` is an int in Python
        if not isinstance(value, allowed[name]) or (isinstance(value, bool) and allowed[name] is not bool):
            raise ControlRefused(f"{name}: wrong type")
    for name in needed:
        if not body.get(name):
            raise ControlRefused(f"{name}: missing")
    return body


def _number_of(request: Request, name: str, default: float, high: float) -> float:
    text = request.query_params.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        # below the range, so that it is refused with the same message as a number that is too small
        value = -1.0
    if not 0 <= value <= high:
        raise ControlRefused(f"{name}: a number from 0 to {high:g}")
    return value


def _answered(call: Call) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await call(request))
        except ControlRefused as refused:
            return JSONResponse({"error": str(refused)}, refused.http_status)

    return endpoint


async def _done(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except ValueError as error:
        raise ControlRefused(str(error)) from None


def _tried(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ValueError as error:
        raise ControlRefused(str(error)) from None


class Control:
    """The control calls of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._customers = customer_calls.CustomerCalls(sandbox)
        self._accounts = accounts_control.AccountsControl(sandbox)
        self._tally = Tally()
        # one count at a time: each runs in a thread, and two would count the same entries twice
        self._counting = asyncio.Lock()

    def routes(self) -> list[BaseRoute]:
        """Return the routes under `/control`."""
        rows: tuple[tuple[str, str, Call], ...] = (
            ("GET", "ledger", self.ledger),
            ("GET", "summary", self.summary),
            ("GET", "arrivals", self.arrived),
            ("POST", "inbound", self.inbound),
            ("POST", "customers", self.customers),
            ("POST", "people", self.people),
            ("POST", "posts", self.posts),
            ("POST", "statuses", self.statuses),
            ("POST", "signup", self.signup),
            ("POST", "templates", self.review),
            ("POST", "numbers", self.turn_number),
            ("POST", "tokens", self.turn_tokens),
            ("POST", "changes", self.changes),
            ("GET", "settings", self.settings),
            ("POST", "settings", self.turn),
            ("GET", "faults", self.faults),
            ("POST", "faults", self.arm),
            ("DELETE", "faults", self.disarm),
            ("DELETE", f"faults/{{id:{NUMBER}}}", self.disarm),
            ("GET", "model", self.model),
            ("POST", "model", self.arm_model),
            ("DELETE", "model", self.disarm_model),
            ("GET", "limits", self.limits),
            ("POST", "limits", self.limit),
            ("POST", "verify", self.verify),
            ("POST", "reset", self.reset),
        )
        return [Route(f"/control/{path}", _answered(call), methods=[method]) for method, path, call in rows]

    async def ledger(self, request: Request) -> Any:
        """Read entries after `since`; `wait_s` waits for the first of them."""
        since = int(_number_of(request, "since", 0, 1e15))
        wait_s = _number_of(request, "wait_s", 0, _WAIT_MAX_S)
        limit = int(_number_of(request, "limit", 1000, _ENTRIES_MAX))
        filters = {name: request.query_params.get(name) for name in ("channel", "event")}
        ledger = self._sandbox.ledger
        found = (
            await ledger.wait(since, wait_s, **filters, limit=limit)
            if wait_s
            else ledger.entries(since, **filters, limit=limit)
        )
        return {"entries": [entry.flat() for entry in found], "seq": ledger.seq}

    async def _counted(self, request: Request) -> Tally:
        since = int(_number_of(request, "since", 0, 1e15))
        async with self._counting:
            # kept and continued, since tests repeat the call with the same `since`
            if self._tally.since != since:
                self._tally = Tally(since)
            tally = self._tally
            # in a thread: a long ledger takes seconds to read, and sends must be answered meanwhile
            await asyncio.to_thread(tally.catch_up, self._sandbox.ledger)
        return tally

    async def summary(self, request: Request) -> Any:
        """Count what arrived after `since`, and name what arrived more than once."""
        return {**(await self._counted(request)).summary(), "webhooks_pending": self._sandbox.outbox.pending}

    async def arrived(self, request: Request) -> Any:
        """Return how often each message arrived, or those named by `message`."""
        counted = (await self._counted(request)).arrived
        asked = request.query_params.getlist("message")
        return {"arrivals": {message: counted[message] for message in asked} if asked else dict(counted)}

    async def inbound(self, request: Request) -> Any:
        """Write as a customer."""
        allowed = {"phone_number_id": str, "from": str, "name": str, "text": str, "message": dict, "quoted": str}
        body = await _body(request, allowed, ("phone_number_id", "from"))
        number = self._number(body["phone_number_id"])
        sender = "".join(filter(str.isdecimal, body["from"]))
        content = body.get("message") or {"type": "text", "text": {"body": body.get("text", "")}}
        # the sender is reduced to its digits first, however it is written
        if not sender:
            raise ControlRefused("from: digits")
        if not isinstance(content.get("type"), str) or not (body.get("message") or body.get("text")):
            raise ControlRefused("text, or message with a type")
        message = customer_message(number, sender, content, body.get("quoted", ""))
        return self._send(
            number,
            "customer_wrote",
            ["message"],
            id=message["id"],
            **{"from": sender},
            name=body.get("name") or "Customer",
            message=message,
        )

    async def customers(self, request: Request) -> Any:
        """Let a customer do something on WhatsApp; see `sandbox/customers.py`."""
        body = await _body(request, customer_calls.WRITE, ("phone_number_id",))
        return await _done(self._customers.write(self._number(body["phone_number_id"]), body))

    async def people(self, request: Request) -> Any:
        """Let a person act on Messenger or Instagram."""
        return await _done(self._customers.act(await _body(request, customer_calls.ACT, ("account_id", "from"))))

    async def posts(self, request: Request) -> Any:
        """Post any body to Meta's webhook, signed rightly or not."""
        return await _done(self._customers.post(await _body(request, customer_calls.POST)))

    async def signup(self, request: Request) -> Any:
        """Complete an embedded signup as a customer's browser does."""
        body = await _body(request, accounts_control.SIGNUP, ("phone_number_id",))
        return _tried(lambda: self._accounts.signup(self._number(body["phone_number_id"])))

    async def review(self, request: Request) -> Any:
        """Approve or reject a template, and post its webhook."""
        body = await _body(request, accounts_control.REVIEW, ("phone_number_id", "name", "language", "status"))
        return _tried(lambda: self._accounts.review(self._number(body["phone_number_id"]), body))

    async def turn_number(self, request: Request) -> Any:
        """Change Meta's data of a number."""
        body = await _body(request, accounts_control.NUMBER, ("phone_number_id",))
        return _tried(lambda: self._accounts.number(self._number(body["phone_number_id"]), body))

    async def turn_tokens(self, request: Request) -> Any:
        """Revoke or restore tokens, or set when they expire."""
        return self._accounts.tokens(await _body(request, accounts_control.TOKENS))

    async def statuses(self, request: Request) -> Any:
        """Move an accepted message on to a status: `read`, `played`, `failed` …"""
        body = await _body(request, {"id": str, "callback": str, "status": str, "code": int})
        status = body.get("status", "read")
        if status not in STATUSES:
            raise ControlRefused(f"status: one of {', '.join(STATUSES)}")
        # newest first and in a thread: the message is usually one of the last, but may be anywhere in the file
        taken = await asyncio.to_thread(self._find, body.get("id", ""), body.get("callback", ""))
        if taken is None:
            raise ControlRefused("no taken message has this id or callback", 404)
        fields = {name: taken.fields[name] for name in ("id", "to", "recipient_type", "callback", "type")}
        return self._send(
            self._number(taken.fields["phone_number_id"]), "status_made", [status], code=body.get("code", 0), **fields
        )

    def _find(self, id: str, callback: str) -> LedgerEntry | None:
        for entry in self._sandbox.ledger.scan_backwards():
            if entry.event == "accepted" and (
                entry.fields["id"] == id if id else callback and entry.fields["callback"] == callback
            ):
                return entry
        return None

    async def changes(self, request: Request) -> Any:
        """Post any `value` of any webhook `field`, as it is."""
        body = await _body(
            request, {"phone_number_id": str, "field": str, "value": dict}, ("phone_number_id", "field", "value")
        )
        number = self._number(body["phone_number_id"])
        return self._send(number, "change_made", ["raw"], field=body["field"], value=body["value"])

    def _number(self, phone_number_id: str) -> Number:
        number = self._sandbox.numbers.get(phone_number_id)
        if number is None:
            raise ControlRefused(f"phone_number_id: not one of {', '.join(self._sandbox.numbers)}", 404)
        return number

    def _send(self, number: Number, event: str, plan: list[str], **fields: Any) -> dict[str, Any]:
        entry = self._sandbox.ledger.append(
            number.channel, event, phone_number_id=number.phone_number_id, plan=plan, **fields
        )
        self._sandbox.outbox.schedule(entry)
        return {"seq": entry.seq, "id": fields.get("id", "")}

    async def settings(self, request: Request) -> Any:
        """Show the knobs."""
        return asdict(self._sandbox.knobs)

    async def turn(self, request: Request) -> Any:
        """Turn knobs; all of them or none."""
        # only types are checked here; `turn` checks the values
        changes = await _body(request, dict.fromkeys(asdict(self._sandbox.knobs), (int, float, list, dict)))
        try:
            self._sandbox.knobs.turn(changes)
        except ValueError as error:
            raise ControlRefused(str(error)) from None
        self._sandbox.ledger.append("control", "settings_turned", changes=changes)
        return asdict(self._sandbox.knobs)

    async def faults(self, request: Request) -> Any:
        """Show what is armed, and which faults there are."""
        return {
            "armed": [asdict(fault) for fault in self._sandbox.faults.armed()],
            "known": {name: words for name, (_where, words) in FAULTS.items()},
        }

    async def arm(self, request: Request) -> Any:
        """Arm a fault."""
        texts = {
            "fault": str,
            "channel": str,
            "phone_number_id": str,
            "to": str,
            "status": str,
            "details": str,
            "call": str,
        }
        number = (int, float)
        allowed: dict[str, type | tuple[type, ...]] = {
            **texts,
            "count": (int, type(None)),
            "probability": number,
            "code": int,
            "http_status": int,
            "latency_ms": number,
        }
        body = await _body(request, allowed, ("fault",))
        # the API's names differ from those of `Fault`, `name` and `left`
        name, left = body.pop("fault"), body.pop("count", 1)
        if name not in FAULTS:
            raise ControlRefused(f"fault: one of {', '.join(FAULTS)}")
        if body.get("call", "messages") not in (calls := ("messages", "media", "read", *CALLS)):
            raise ControlRefused(f"call: one of {', '.join(calls)}")
        # null has no limit: such a fault ends only by DELETE
        if left is not None and left < 1:
            raise ControlRefused("count: 1 or more, or null for as long as it is armed")
        if not 0 < body.get("probability", 1) <= 1:
            raise ControlRefused("probability: above 0, at most 1")
        # an error status only: 2xx would be an acceptance that is missing from the ledger
        if body.get("http_status", 500) not in range(400, 600):
            raise ControlRefused("http_status: from 400 to 599")
        if not 0 <= body.get("latency_ms", 0) < 1e9:
            raise ControlRefused("latency_ms: 0 or more")
        fault = self._sandbox.faults.arm(name, left=left, **body)
        self._sandbox.ledger.append("control", "fault_armed", armed=asdict(fault))
        return asdict(fault)

    async def disarm(self, request: Request) -> Any:
        """Disarm one fault, or all."""
        disarmed = self._sandbox.faults.disarm(request.path_params.get("id"))
        self._sandbox.ledger.append("control", "faults_disarmed", disarmed=disarmed)
        return {"disarmed": disarmed}

    async def model(self, request: Request) -> Any:
        """Show what the model is armed with, and which behaviours there are."""
        return model_control.shown(self._sandbox.script)

    async def arm_model(self, request: Request) -> Any:
        """Arm a behaviour of the model."""
        body = await _body(request, model_control.BEHAVIOUR, ("behaviour",))
        armed = _tried(lambda: model_control.arm(self._sandbox.script, body))
        self._sandbox.ledger.append("control", "model_armed", armed=armed)
        return armed

    async def disarm_model(self, request: Request) -> Any:
        """Let the model answer by itself again."""
        disarmed = self._sandbox.script.disarm()
        self._sandbox.ledger.append("control", "model_disarmed", disarmed=disarmed)
        return {"disarmed": disarmed}

    async def limits(self, request: Request) -> Any:
        """Show the rate limits in force."""
        return asdict(self._sandbox.limits.values)

    async def limit(self, request: Request) -> Any:
        """Set the rate limits; a limit that is not named is off."""
        number = (int, float)
        body = await _body(request, {"messages_per_second": number, "pair_period_s": number, "pair_burst": int})
        if not all(0 <= value < 1e9 for value in body.values()) or body.get("pair_burst", 1) < 1:
            raise ControlRefused("limits are 0 (off) or more, pair_burst 1 or more")
        self._sandbox.limits.set(LimitValues(**body))
        self._sandbox.ledger.append("control", "limits_set", **body)
        return asdict(self._sandbox.limits.values)

    async def verify(self, request: Request) -> Any:
        """Verify the product's webhook as Meta does; `verify_token` in place of the right one."""
        body = await _body(request, {"verify_token": str})
        # a wrong token is part of what is tested: the product must refuse it
        return await self._sandbox.outbox.verify(body.get("verify_token", self._sandbox.config.verify_token))

    async def reset(self, request: Request) -> Any:
        """Reset knobs, limits and faults; the ledger stays. Returns its newest number, for `since` in later calls."""
        body = await _body(request, {"seed": int})
        # the ledger stays: it is the evidence, and its numbers must never be used twice
        self._sandbox.reset(body.get("seed"))
        return {"seq": self._sandbox.ledger.append("control", "reset", **body).seq}
