"""The public port: Meta's verification, and events from Meta and 360dialog, stored before they are answered."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meta.accounts.registry import D360, META_SOURCE, Account, AccountRegistry, KnownAccount
from meta.events import reading
from meta.inbound.journal import WebhookJournal
from meta.inbound.signatures import SHA1, SHA256, is_signed, is_weakly_signed
from shared.errors import BulkheadError, StoreUnavailable
from shared.logs import logger
from shared.process.endpoints import NUMBER
from shared.process.metrics import Metrics
from shared.process.request_body import BodyBudgetExhausted, BodyLate, BodyTooLarge, read_body
from shared.store.inbound import RawEvent

log = logger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

META_PATHS: Final = ("/api/meta/webhook", "/webhooks/whatsapp", "/webhooks/messenger", "/webhooks/instagram")
D360_PATH: Final = f"/webhooks/360dialog/{{company_id}}/{{phone_index:{NUMBER}}}"
D360_GUARD: Final = "X-Bulkhead-Webhook-Secret"
"""Header that 360dialog is configured to send (`POST /v1/configs/webhook`), since it does not sign."""

BODY_MOST: Final = 3 * 1024 * 1024
"""Bytes. Meta's payloads have up to 3 MB."""
_BODY_S: Final = 10.0
"""Seconds for one body to arrive: a slow sender must not hold memory and a connection for longer."""
_HEAVY: Final = 64 * 1024
"""Bytes from which a body is hashed and parsed in a thread of its own, so that the event loop, and with it the small
ones, need not wait for it. Below, the change of threads costs more than the work.
"""
_OLD_OBJECTS: Final = frozenset({"page", "instagram"})
"""Webhooks that may be signed by SHA-1 alone where META_SHA1_SIGNATURES allows it."""
# the answer contains a challenge chosen by the caller: no cache may store it and no browser may show it as a page
_NO_CACHE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class WebhookRefused(BulkheadError):
    """Raised where a post is refused.

    Attributes:
        status: HTTP status. answer: label in the metrics.
    """

    def __init__(self, status: int, answer: str) -> None:
        self.status, self.answer = status, answer
        super().__init__(answer)


class Webhooks:
    """Answers providers.

    Args:
        app_secret: signs Meta's events; empty: none is accepted. verify_token: what Meta must repeat; empty:
            verification fails.
        allows_sha1: whether events of pages and Instagram accounts may be signed by SHA-1 alone.
    """

    def __init__(
        self,
        accounts: AccountRegistry,
        journal: WebhookJournal,
        metrics: Metrics,
        *,
        app_secret: str,
        verify_token: str,
        allows_sha1: bool = False,
    ) -> None:
        self._accounts, self._journal, self._allows_sha1 = accounts, journal, allows_sha1
        self._app_secret, self._verify_token = app_secret.encode(), verify_token.encode()
        self._posts = metrics.counter("meta_webhook_posts", "Webhook posts by door and answer.", ("door", "answer"))
        self._signature_failures = metrics.counter(
            "meta_signature_failures", "Posts refused for a missing or wrong signature or secret.", ("door",)
        )

    def app(self) -> Starlette:
        """Return the application for the public port."""
        # all addresses are equal: the body itself names its object, and operators may register any of them at Meta
        routes = [Route(path, self.verify, methods=["GET"]) for path in META_PATHS]
        routes += [Route(path, self.take_meta, methods=["POST"]) for path in META_PATHS]
        return Starlette(routes=[*routes, Route(D360_PATH, self.take_d360, methods=["POST"])])

    async def verify(self, request: Request) -> Response:
        """Prove to Meta that the address is ours."""
        query = request.query_params
        # in constant time, and before the other conditions: the time of an answer must not show how much of the token
        # is right
        is_right = hmac.compare_digest(query.get("hub.verify_token", "").encode(), self._verify_token) and bool(
            self._verify_token
        )
        if query.get("hub.mode") != "subscribe" or "hub.challenge" not in query or not is_right:
            log.warning("webhook_not_verified")
            return PlainTextResponse("", 403, _NO_CACHE)
        log.info("webhook_verified")
        return PlainTextResponse(query["hub.challenge"], 200, _NO_CACHE)

    async def take_meta(self, request: Request) -> Response:
        """Take events that Meta signed."""

        async def admit() -> None:
            # without a signature nothing of the body is read
            if not (SHA256 in request.headers or (self._allows_sha1 and SHA1 in request.headers)):
                raise WebhookRefused(401, "bad_signature")

        async def guarded(body: bytes) -> RawEvent:
            # over the raw bytes: a body that was decoded and encoded again has other escapes, and another signature
            is_believed = await _beside(body, is_signed, request.headers.get(SHA256, ""), body, self._app_secret)
            if not is_believed and self._allows_sha1 and is_weakly_signed(request.headers, body, self._app_secret):
                # only objects whose old apps sign so: a WhatsApp event must not be accepted under the weaker algorithm
                is_believed = reading.object_of(body) in _OLD_OBJECTS
            if not is_believed:
                raise WebhookRefused(401, "bad_signature")
            return RawEvent(source=META_SOURCE, body=body)

        return await self._answer(request, "meta", admit, guarded)

    async def take_d360(self, request: Request) -> Response:
        """Take events of one 360dialog number."""

        async def admit() -> Account:
            known = await self._accounts.find_by_index(
                request.path_params["company_id"], request.path_params["phone_index"]
            )
            given = request.headers.get(D360_GUARD, "").encode()
            # an unknown connection is answered like a wrong secret, so that answers do not show which exist
            if not hmac.compare_digest(given, _secret(known)) or not given or not isinstance(known, Account):
                raise WebhookRefused(401, "bad_signature")
            return known

        async def guarded(body: bytes) -> RawEvent:
            # again after the body has arrived: the connection may have been removed, or its secret replaced, in up to
            # ten seconds
            known = await admit()
            return RawEvent(source=known.source, body=body, connection_id=known.connection.id)

        return await self._answer(request, "360dialog", admit, guarded)

    async def _answer(
        self,
        request: Request,
        door: str,
        admit: Callable[[], Awaitable[object]],
        guarded: Callable[[bytes], Awaitable[RawEvent]],
    ) -> Response:
        """Store what a provider posts. `admit`: refuses by the head alone, before any of the body is read. `guarded`:
        checks the whole.
        """
        try:
            await admit()
            event = await guarded(await _body(request))
            # before it is stored: a body that is no JSON would be a row that can never be processed
            await _beside(event.body, reading.require_json, event.body)
            # returns after the commit: a 200 before it would promise what a crash could break
            await self._journal.keep(event)
        except WebhookRefused as refused:
            answer, response = refused.answer, _bare(refused.status)
        except reading.NotJson:
            answer, response = "bad_json", _bare(400)
        except StoreUnavailable as error:
            log.warning("webhook_not_stored", reason=str(error))
            # 503 makes the provider repeat the post: Meta for up to 7 days. The commit may have happened all the same;
            # the repeated event then finds its rows
            answer, response = "not_stored", Response(status_code=503, headers={"Retry-After": "1"})
        else:
            answer, response = "stored", _bare(200)
        self._posts.labels(door, answer).inc()
        if answer == "bad_signature":
            self._signature_failures.labels(door).inc()
            log.warning("webhook_signature_refused", door=door)
        return response


async def _beside(body: bytes, function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """Return what `function` returns, in a thread of its own when the body is long."""
    if len(body) < _HEAVY:
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)


def _secret(known: KnownAccount | None) -> bytes:
    return known.webhook_secret if isinstance(known, Account) and known.connection.connection_type == D360 else b""


def _bare(status: int) -> Response:
    # what of the body still arrives is not read to its end
    headers = {"Connection": "close"} if status in (408, 413) else {"Retry-After": "1"} if status == 503 else None
    return Response(status_code=status, headers=headers)


async def _body(request: Request) -> bytes:
    """Return the raw body. Raises `WebhookRefused` when it is too long, too slow, cut, or too much together with
    others.
    """
    try:
        return await read_body(
            request, limit=BODY_MOST, wait_s=_BODY_S, owner=request.path_params.get("company_id", "")
        )
    except BodyTooLarge:
        raise WebhookRefused(413, "too_long") from None
    except BodyLate:
        raise WebhookRefused(408, "too_slow") from None
    except BodyBudgetExhausted:
        raise WebhookRefused(503, "busy") from None
    except ClientDisconnect:
        raise WebhookRefused(400, "disconnected") from None
