"""The calls of the Graph API about accounts, numbers and tokens. Each has a route of its own, before those of messages.

An armed `error`, `hang` or `cut_before` applies here only if its `call` names one of `CALLS`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox import media_calls, messages
from sandbox.accounts import chosen
from sandbox.config import Number
from sandbox.connection import Cut, Hang
from sandbox.graph_errors import GraphError
from sandbox.openapi.validators import BodyValidator
from sandbox.request_bodies import read_body
from sandbox.state import Sandbox

CALLS: Final = (
    "access_token",
    "debug_token",
    "number",
    "register",
    "deregister",
    "subscribed_apps",
    "profile",
    "templates",
    "page",
    "attachments",
    "waba",
)
"""Names of calls for faults."""
_PIN_TRIES: Final = 10
"""Registrations of one number before further ones are refused (133016). Meta counts them per 72 hours, the sandbox
until the number is reset with `fresh`.
"""
_VERSION: Final = re.compile(r"v(1[7-9]|2[0-6])\.0")
_PROFILE: Final = ("about", "address", "description", "email", "profile_picture_handle", "websites", "vertical")
"""Fields of a business profile that may be changed; any other one is refused as an unexpected key."""

Serve = Callable[[Request], Awaitable[Response]]


def gate(sandbox: Sandbox, name: str, serve: Serve, *, needs_token: bool = True) -> Serve:
    """Return an endpoint that checks version and token, applies armed faults, and converts errors to Meta's
    responses.
    """

    async def endpoint(request: Request) -> Response:
        try:
            _require_version(request)
            if needs_token:
                await sandbox.accounts.require_token(request)
            # before the call does anything: only messages and uploads have faults that apply afterwards
            fault = sandbox.faults.take(("before",), channel="graph", phone_number_id="", to="", call=name)
            if fault is not None:
                sandbox.ledger.append("account", "refused", call=name, fault=fault.name, code=fault.code)
                return (
                    Hang(sandbox.released)
                    if fault.name == "hang"
                    else Cut()
                    if fault.name == "cut_before"
                    else media_calls.fault_answer(fault)
                )
            return await serve(request)
        except GraphError as error:
            sandbox.ledger.append(
                "account",
                "refused",
                call=name,
                code=error.code,
                http_status=error.http_status,
                details=error.details or error.message,
            )
            return messages.error_response(error)

    return endpoint


def _require_version(request: Request) -> None:
    if not _VERSION.fullmatch(request.path_params["version"]):
        raise GraphError(2500, message=f"Unknown path components: {request.url.path}")


def account_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """Return the routes about accounts."""
    calls = AccountCalls(sandbox)
    routes: list[BaseRoute] = [
        Route(
            "/graph/{version}/oauth/access_token",
            gate(sandbox, "access_token", calls.exchange, needs_token=False),
            methods=["GET", "POST"],
        ),
        Route(
            "/graph/{version}/debug_token",
            gate(sandbox, "debug_token", calls.debug, needs_token=False),
            methods=["GET"],
        ),
    ]
    for number in sandbox.config.numbers:
        if number.channel == "graph":
            # routes with literal ids: they are matched before the general routes of messages, and match no other
            # object's calls
            node = f"/graph/{{version}}/{number.phone_number_id}"
            routes += [
                Route(node, gate(sandbox, "number", calls.node(number)), methods=["GET"]),
                Route(f"{node}/register", gate(sandbox, "register", calls.register(number)), methods=["POST"]),
                Route(f"{node}/deregister", gate(sandbox, "deregister", calls.deregister(number)), methods=["POST"]),
                Route(
                    f"{node}/whatsapp_business_profile",
                    gate(sandbox, "profile", calls.profile(number)),
                    methods=["GET", "POST"],
                ),
            ]
    # several numbers may share one account; its route is added once
    for waba_id in sorted({number.waba_id for number in sandbox.config.numbers if number.channel == "graph"}):
        node = f"/graph/{{version}}/{waba_id}"
        routes += [
            Route(node, gate(sandbox, "waba", calls.waba(waba_id)), methods=["GET"]),
            Route(f"{node}/phone_numbers", gate(sandbox, "waba", calls.numbers_of(waba_id)), methods=["GET"]),
        ]
    # Pages are subscribed by the same edge as business accounts
    owners = sorted(
        {number.waba_id for number in sandbox.config.numbers if number.channel == "graph"}
        | {page.id for page in sandbox.config.pages}
    )
    for owner in owners:
        path = f"/graph/{{version}}/{owner}/subscribed_apps"
        routes.append(
            Route(path, gate(sandbox, "subscribed_apps", calls.subscribed(owner)), methods=["GET", "POST", "DELETE"])
        )
    return routes


class AccountCalls:
    """The endpoints behind the routes."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._accounts = sandbox, sandbox.accounts
        self._registration = BodyValidator("/{Version}/{Phone-Number-ID}/register")
        self._subscription = BodyValidator("/{Version}/{WABA-ID}/subscribed_apps")

    async def exchange(self, request: Request) -> Response:
        """Exchange a code for a token."""
        given = request.query_params
        config = self._sandbox.config
        if given.get("client_id") != config.app_id:
            raise GraphError(
                101,
                message="Error validating application. Cannot get application info due to a system error.",
                http_status=400,
            )
        # compared in constant time, as a real server would: the app secret also signs webhooks
        if not secrets.compare_digest(given.get("client_secret", "").encode(), config.app_secret.encode()):
            raise GraphError(1, message="Error validating client secret.", http_status=400)
        token = self._accounts.exchange(given.get("code", ""))
        self._sandbox.ledger.append("account", "code_exchanged")
        return JSONResponse({"access_token": token, "token_type": "bearer"})

    async def debug(self, request: Request) -> Response:
        """Describe a token (`debug_token`)."""
        await self._accounts.require_app(request)
        if not (token := request.query_params.get("input_token", "")):
            raise GraphError(100, message="(#100) The parameter input_token is required.")
        return JSONResponse({"data": self._accounts.about(token)})

    def node(self, number: Number) -> Serve:
        """Describe a number."""

        async def serve(request: Request) -> Response:
            default = "id,display_phone_number,verified_name,quality_rating"
            return JSONResponse(
                chosen(self._accounts.fields(number.phone_number_id), request.query_params.get("fields", default))
            )

        return serve

    def waba(self, waba_id: str) -> Serve:
        """Show a WhatsApp Business Account."""

        async def serve(request: Request) -> Response:
            account = {
                "id": waba_id,
                "name": "Bulkhead sandbox",
                "currency": "USD",
                "timezone_id": "1",
                "message_template_namespace": f"sandbox_{waba_id}",
                "account_review_status": "APPROVED",
            }
            # Meta's default fields
            default = "id,name,currency,timezone_id,message_template_namespace"
            return JSONResponse(chosen(account, request.query_params.get("fields", default)))

        return serve

    def numbers_of(self, waba_id: str) -> Serve:
        """List the numbers of a WhatsApp Business Account."""

        async def serve(request: Request) -> Response:
            default = "id,display_phone_number,verified_name,quality_rating"
            fields = request.query_params.get("fields", default)
            listed = [
                chosen(self._accounts.fields(number.phone_number_id), fields)
                for number in self._sandbox.config.numbers
                if number.waba_id == waba_id
            ]
            return JSONResponse({"data": listed, "paging": {"cursors": {"before": "0", "after": str(len(listed))}}})

        return serve

    def register(self, number: Number) -> Serve:
        """Register a number with a PIN, which is its PIN from then on."""

        async def serve(request: Request) -> Response:
            body = await read_body(request)
            if violation := self._registration.violation(body):
                raise messages.refusal(violation)
            kept = self._accounts.number(number.phone_number_id)
            tries = kept.get("tries", 0) + 1
            if tries > _PIN_TRIES:
                raise GraphError(133016)
            # counted before the PIN is compared, since the limit is there for wrong guesses
            kept["tries"] = tries
            # a number without a PIN takes the first one that it is registered with
            if kept.get("pin") not in (None, body["pin"]):
                self._accounts.save()
                raise GraphError(133005)
            # saved before the response, so that a confirmed registration survives a kill of the sandbox
            kept |= {"registered": True, "pin": body["pin"]}
            self._accounts.save()
            self._sandbox.ledger.append("account", "registered", phone_number_id=number.phone_number_id)
            return JSONResponse({"success": True})

        return serve

    def deregister(self, number: Number) -> Serve:
        """Deregister a number."""

        async def serve(_: Request) -> Response:
            if not self._accounts.is_registered(number.phone_number_id):
                raise GraphError(133010)
            self._accounts.number(number.phone_number_id)["registered"] = False
            self._accounts.save()
            self._sandbox.ledger.append("account", "deregistered", phone_number_id=number.phone_number_id)
            return JSONResponse({"success": True})

        return serve

    def subscribed(self, owner: str) -> Serve:
        """Show, make or end the app's subscription to an account or a Page."""

        async def serve(request: Request) -> Response:
            kept, app = self._accounts.waba(owner), self._sandbox.config.app_id
            if request.method == "GET":
                # the same edge has two shapes: a Page lists apps with their fields, a business account wraps each app
                if any(page.id == owner for page in self._sandbox.config.pages):
                    return JSONResponse(
                        {
                            "data": [
                                {"id": one, "name": "Bulkhead", "subscribed_fields": ["messages"]}
                                for one in kept["apps"]
                            ]
                        }
                    )
                return JSONResponse(
                    {"data": [{"whatsapp_business_api_data": {"id": one, "name": "Bulkhead"}} for one in kept["apps"]]}
                )
            if (
                request.method == "POST"
                # Meta accepts a subscription without a body. A body may set another webhook address, so one that is
                # given is checked.
                and await request.body()
                and (violation := self._subscription.violation(await read_body(request)))
            ):
                raise messages.refusal(violation)
            kept["apps"] = sorted({*kept["apps"], app} if request.method == "POST" else {*kept["apps"]} - {app})
            self._accounts.save()
            self._sandbox.ledger.append(
                "account", "subscribed" if request.method == "POST" else "unsubscribed", owner=owner
            )
            return JSONResponse({"success": True})

        return serve

    def profile(self, number: Number) -> Serve:
        """Show or change what customers see of the business."""

        async def serve(request: Request) -> Response:
            kept = self._accounts.number(number.phone_number_id)
            profile: dict[str, Any] = kept.setdefault("profile", {"vertical": "UNDEFINED"})
            if request.method == "POST":
                _change(profile, await read_body(request))
                self._accounts.save()
                self._sandbox.ledger.append("account", "profile_changed", phone_number_id=number.phone_number_id)
                return JSONResponse({"success": True})
            # without `fields`, Meta's profile has only `messaging_product`
            asked = request.query_params.get("fields", "").split(",")
            return JSONResponse(
                {
                    "data": [
                        {"messaging_product": "whatsapp", **{name: profile[name] for name in asked if name in profile}}
                    ]
                }
            )

        return serve


def _change(profile: dict[str, Any], body: Mapping[str, Any]) -> None:
    """Apply the given fields to a profile. Raises `GraphError`."""
    if body.get("messaging_product") != "whatsapp":
        raise GraphError(100, message="(#100) The parameter messaging_product is required.")
    for name, value in body.items():
        if name == "messaging_product":
            continue
        if name not in _PROFILE:
            raise GraphError(100, message=f"(#100) Unexpected key {name} on param root.")
        right = (
            # at most two websites, by Meta's page about profiles
            isinstance(value, list) and len(value) <= 2 and all(isinstance(one, str) for one in value)
            if name == "websites"
            else isinstance(value, str)
        )
        # 139 characters: Meta's limit for `about`
        if not right or (name == "about" and not 1 <= len(value) <= 139):
            raise GraphError(131009, details=f"Parameter {name} is not valid")
        profile[name] = value
