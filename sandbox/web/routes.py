"""HTTP between page and phone (`/web/…`), and the control API for testers (`/control/web/…`)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sandbox.web.devices import Device, DeviceRefused, Mode, PageStream
from sandbox.web.phones import Phones
from shared.qr import svg

_PAGE: Final = Path(__file__).parent
_TYPES: Final = {".js": "text/javascript", ".css": "text/css"}
"""Content types by ending; a file with another ending is not served."""
_ASSETS: Final = {file.name: _TYPES[file.suffix] for file in _PAGE.iterdir() if file.suffix in _TYPES}
"""Listed once: names from a URL are looked up here and never become paths."""
_CSP: Final = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:"
"""As strict as the real page's: a script can be injected only if the browser is set to ignore the policy."""

_COMMENT_AFTER_S: Final = 15.0
"""Interval of comments on an idle event stream, so that a closed page is noticed."""


_WRITTEN: Final = (
    "caption",
    "lat",
    "lng",
    "loc",
    "clientUrl",
    "quoted",
    "forwarded",
    "viewOnce",
    "vcardFormattedName",
    "vcardList",
    "pollName",
    "selectedId",
)
"""Fields of a customer's message that are copied unchanged."""


def _media(phones: Phones, body: Mapping[str, Any]) -> dict[str, Any]:
    """Store the file of a customer's message and return the fields that describe it on the page."""
    try:
        content = base64.b64decode(str(body["data"]), validate=True)
    except ValueError:
        raise DeviceRefused(400, "bad_data", "data is not base64") from None
    mimetype = str(body.get("mimetype", "application/octet-stream"))
    return {
        "filehash": phones.files.keep(content),
        "size": len(content),
        "mimetype": mimetype,
        "filename": body.get("filename"),
    }


def _answered(work: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await work(request))
        except DeviceRefused as refused:
            return JSONResponse({"code": refused.code, "detail": refused.detail}, refused.status)

    return endpoint


async def _body(request: Request, *needed: str) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        raise DeviceRefused(400, "bad_json", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise DeviceRefused(400, "bad_json", "the body is not a JSON object")
    if missing := [name for name in needed if not isinstance(body.get(name), str) or not body[name]]:
        raise DeviceRefused(400, "missing_field", f"needed, as text: {', '.join(missing)}")
    return body


def web_routes(phones: Phones) -> list[BaseRoute]:
    """Return the routes of the page, of its phone, and of the control API. Call `phones.close()` before the server
    stops.
    """
    return [*_page_routes(phones), *_control_routes(phones)]


def _page_routes(phones: Phones) -> list[BaseRoute]:
    async def to_page(request: Request) -> Response:
        return RedirectResponse("/web/")

    async def page(request: Request) -> Response:
        return FileResponse(
            _PAGE / "index.html", headers={"Content-Security-Policy": _CSP, "Cache-Control": "no-store"}
        )

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        # a name with a slash does not match the route; one that is not listed is not read
        if name not in _ASSETS:
            return Response(status_code=404)
        # no-store: a browser profile that outlives an update must not run an older page
        return FileResponse(_PAGE / name, media_type=_ASSETS[name], headers={"Cache-Control": "no-store"})

    async def qr(request: Request) -> Response:
        return Response(
            svg(request.query_params.get("code", "")), media_type="image/svg+xml", headers={"Cache-Control": "no-store"}
        )

    async def stream(request: Request) -> Response:
        # before the response starts: every event that is pushed from here on is delivered
        device, line = phones.connect(request.query_params["device"], request.query_params.get("credential", ""))
        return StreamingResponse(
            _events(phones, device, line), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def send(request: Request) -> Any:
        body = await _body(request, "device", "credential", "id", "chat")
        if not isinstance(body.get("body"), str):
            raise DeviceRefused(400, "missing_field", "needed, as text: body")
        return await phones.take(phones.device(body["device"], body["credential"]), body)

    async def signal(request: Request) -> Any:
        body = await _body(request, "device", "credential", "chat", "kind")
        phones.signal(
            phones.device(body["device"], body["credential"]), body["chat"], body["kind"], body.get("ids", [])
        )
        return {}

    async def upload(request: Request) -> Any:
        device = phones.device(request.query_params["device"], request.query_params.get("credential", ""))
        # files are refused like messages while the phone is away
        if device.away:
            raise DeviceRefused(503, "offline", "the phone is away")
        content = await request.body()
        return {"filehash": await asyncio.to_thread(phones.files.keep, content)}

    async def download(request: Request) -> Response:
        device = phones.device(request.query_params["device"], request.query_params.get("credential", ""))
        filehash = request.query_params.get("filehash", "")
        if device.faults.lose_files or not phones.files.has(filehash):
            return Response(status_code=404)
        return FileResponse(phones.files.path(filehash), media_type="application/octet-stream")

    async def sync(request: Request) -> Any:
        body = await _body(request, "device", "credential")
        device = phones.device(body["device"], body["credential"])
        phones.confirm(device, body.get("received", []))
        return {"acks": phones.synced(device, body.get("pending", []))}

    async def pair(request: Request) -> Any:
        return {"code": phones.pair(phones.device((await _body(request, "device"))["device"]))}

    async def log_out(request: Request) -> Any:
        body = await _body(request, "device", "credential")
        phones.log_out(phones.device(body["device"], body["credential"]))
        return {}

    return [
        Route("/web", to_page),
        Route("/web/", page),
        Route("/web/page/{name}", asset),
        Route("/web/qr.svg", qr),
        Route("/web/phone/stream", stream),
        Route("/web/phone/send", _answered(send), methods=["POST"]),
        Route("/web/phone/signal", _answered(signal), methods=["POST"]),
        Route("/web/phone/media", _answered(upload), methods=["POST"]),
        Route("/web/phone/media", download),
        Route("/web/phone/sync", _answered(sync), methods=["POST"]),
        Route("/web/phone/pair", _answered(pair), methods=["POST"]),
        Route("/web/phone/logout", _answered(log_out), methods=["POST"]),
    ]


async def _events(phones: Phones, device: Device, line: PageStream) -> AsyncIterator[str]:
    """Yield the events of one page, a new code whenever the shown one is too old, and comments in between."""
    new_code_at = 0.0
    try:
        # milliseconds until EventSource reconnects; its default of a few seconds would slow tests down
        yield "retry: 500\n\n"
        while not phones.closed.is_set():
            now = time.monotonic()
            # a device that is unlinked later shows a new code at once
            if device.mode != "QR":
                new_code_at = 0.0
            # a code is pushed while the page shows one, and replaced before it is too old to be scanned
            elif now >= new_code_at:
                new_code_at = now + phones.code_life_s
                yield f"data: {json.dumps({'type': 'ref', 'ref': phones.next_code(device)})}\n\n"
            try:
                event = await asyncio.wait_for(
                    # whichever comes first: an event, the end of the code, or the next comment
                    line.events.get(),
                    min(_COMMENT_AFTER_S, max(0.0, new_code_at - now) or _COMMENT_AFTER_S),
                )
            except TimeoutError:
                yield ": still here\n\n"
                continue
            if event is None:
                return
            yield f"data: {json.dumps(event)}\n\n"
    # also when the client disconnects: the server then closes this generator
    finally:
        phones.disconnect(device, line)


def _control_routes(phones: Phones) -> list[BaseRoute]:
    def named(request: Request) -> Device:
        return phones.device(request.path_params["device"])

    async def devices(request: Request) -> Any:
        return {"devices": phones.devices()}

    async def scan(request: Request) -> Any:
        body = await _body(request)
        phone = str(body.get("phone", ""))
        if body.get("code"):
            device = phones.scan(str(body["code"]), phone)
        else:
            device = phones.link(
                phones.device(str(body["device"])) if body.get("device") else phones.only_waiting(), phone
            )
        return {"device": device.id, "phone": device.phone}

    async def write(request: Request) -> Any:
        body = await _body(request, "from")
        device, kind = named(request), str(body.get("type", "chat"))
        if kind == "chat":
            # only a text message needs a body
            await _body(request, "body")
        more: dict[str, Any] = {name: body[name] for name in _WRITTEN if name in body}
        if "data" in body:
            # decoding and writing a large file must not hold up the pages
            more["media"] = await asyncio.to_thread(_media, phones, body)
        message_id = phones.write(
            device,
            body["from"],
            str(body.get("body", "")),
            name=str(body.get("name", "")),
            chat=str(body.get("chat", "")),
            kind=kind,
            from_me=body.get("from_me") is True,
            more=more,
        )
        return {"id": message_id}

    async def change(request: Request) -> Any:
        device, body = named(request), await _body(request, "target", "what")
        # the page supports no others
        if body["what"] not in ("edit", "revoke", "reaction"):
            raise DeviceRefused(400, "unknown_change", "known are edit, revoke, reaction")
        return {
            "id": phones.change(
                device, body["target"], body["what"], str(body.get("body", "")), sender=str(body.get("from", ""))
            )
        }

    async def faults(request: Request) -> Any:
        device = named(request)
        device.faults.change(await _body(request))
        return vars(device.faults)

    async def mode(request: Request) -> Any:
        body = await _body(request, "mode")
        if body["mode"] not in get_args(Mode):
            raise DeviceRefused(400, "unknown_mode", f"known are {', '.join(get_args(Mode))}")
        phones.set_mode(named(request), body["mode"])
        return {}

    async def order(request: Request) -> Any:
        device, what = named(request), request.path_params["what"]
        amount = (await _body(request)).get("amount", 0)
        if what in ("offline", "online"):
            phones.set_away(device, what == "offline")
        elif what == "logout":
            phones.log_out(device)
        elif what in ("hang", "burn", "leak", "reload", "script_error"):
            phones.order(device, what, float(amount))
        else:
            raise DeviceRefused(
                404, "unknown_order", "known are offline, online, logout, hang, burn, leak, reload, script_error"
            )
        return {}

    return [
        Route("/control/web/devices", _answered(devices)),
        Route("/control/web/scan", _answered(scan), methods=["POST"]),
        Route("/control/web/devices/{device}/messages", _answered(write), methods=["POST"]),
        Route("/control/web/devices/{device}/changes", _answered(change), methods=["POST"]),
        Route("/control/web/devices/{device}/faults", _answered(faults), methods=["POST"]),
        Route("/control/web/devices/{device}/mode", _answered(mode), methods=["POST"]),
        Route("/control/web/devices/{device}/{what}", _answered(order), methods=["POST"]),
    ]
