"""The calls about files: upload, look up, download, delete. They are the same at Meta and at 360dialog."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from sandbox.config import Number
from sandbox.connection import Cut, Hang
from sandbox.faults import Fault
from sandbox.graph_errors import GraphError
from sandbox.media import UPLOAD_DAYS, UPLOAD_MOST, Media, require_uploadable
from sandbox.state import Sandbox

ATTACHMENTS: Final = "whatsapp_business/attachments/"
"""Path of a file's address, at Meta and through 360dialog."""
_CALL: Final = "media"


async def upload(sandbox: Sandbox, channel: str, number: Number, request: Request) -> Response:
    """Accept one file, or apply an armed fault.

    Raises:
        GraphError: Meta would refuse the file.
    """
    about = {"phone_number_id": number.phone_number_id}
    try:
        content, mime_type, filename = await _form(request)
        require_uploadable(content, mime_type)
    except GraphError as error:
        sandbox.ledger.append(
            channel,
            "media_refused",
            phone_number_id=number.phone_number_id,
            code=error.code,
            http_status=error.http_status,
            details=error.details or error.message,
        )
        raise
    fault = sandbox.faults.take(
        ("before", "after"), channel=channel, phone_number_id=number.phone_number_id, to="", call=_CALL
    )
    if fault and fault.is_before:
        sandbox.ledger.append(
            channel, "media_refused", fault=fault.name, code=fault.code, http_status=fault.http_status, **about
        )
        return (
            Hang(sandbox.released)
            if fault.name == "hang"
            else Cut()
            if fault.name == "cut_before"
            else fault_answer(fault)
        )
    # writing up to 100 MB must not hold up sends
    media = await asyncio.to_thread(sandbox.shelf.put, number.phone_number_id, content, mime_type, days=UPLOAD_DAYS)
    sandbox.ledger.append(
        channel,
        "media_uploaded",
        **about,
        id=media.id,
        mime_type=mime_type,
        size=media.size,
        sha256=media.sha256,
        filename=filename,
        fault=fault.name if fault else "",
    )
    # the file stays in each of these cases: as at Meta, an upload whose response is lost leaves a file behind
    if fault and fault.name == "cut_after":
        return Cut()
    if fault and fault.name == "hang_after":
        return Hang(sandbox.released)
    if fault and fault.name == "slow":
        await asyncio.sleep(fault.latency_ms / 1000)
    if fault and fault.name == "5xx_after_accept":
        return fault_answer(fault, 502)
    return JSONResponse({"id": media.id})


async def _form(request: Request) -> tuple[bytes, str, str]:
    """Return the file, its mimetype and its name. Raises `GraphError`."""
    length = request.headers.get("content-length", "0")
    # 64 KB for the form's other parts; refused before the body is read into memory
    if length.isdecimal() and int(length) > UPLOAD_MOST + 65_536:
        raise GraphError(131053, details=f"The upload is larger than {UPLOAD_MOST} bytes")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        # the examples of Meta's document have a local path in JSON, without a file
        raise GraphError(
            100, message="(#100) The parameter file is required.", details="An upload is a form with a file"
        )
    try:
        async with request.form(max_files=1, max_fields=10) as form:
            file, product, declared = form.get("file"), form.get("messaging_product"), form.get("type")
            if product != "whatsapp":
                raise GraphError(100, message="(#100) The parameter messaging_product is required.")
            if not isinstance(file, UploadFile):
                raise GraphError(100, message="(#100) The parameter file is required.")
            content, own, filename = await file.read(), file.content_type or "", file.filename or ""
    # the response reaches no client, but the ledger shows the failed upload
    except ClientDisconnect:
        raise GraphError(131053, details="The upload broke off") from None
    except HTTPException as error:
        raise GraphError(100, message="(#100) The parameter file is required.", details=str(error.detail)) from None
    # the form's `type` precedes the part's own Content-Type; parameters such as `codecs=opus` are no part of the type
    mime_type = (declared if isinstance(declared, str) and declared else own).partition(";")[0].strip().lower()
    return content, mime_type or "application/octet-stream", filename


async def describe(sandbox: Sandbox, media: Media, address: str) -> Response:
    """Return a file's metadata, with a URL for five minutes."""
    facts = {"mime_type": media.mime_type, "sha256": media.sha256, "file_size": str(media.size), "id": media.id}
    return JSONResponse({"messaging_product": "whatsapp", "url": f"{address}?{sandbox.shelf.query(media)}", **facts})


async def delete(sandbox: Sandbox, channel: str, media: Media) -> Response:
    """Forget a file."""
    sandbox.shelf.delete(media)
    sandbox.ledger.append(channel, "media_deleted", id=media.id)
    return JSONResponse({"success": True})


async def download(sandbox: Sandbox, channel: str, request: Request) -> Response:
    """Serve the file of a URL; 404 when the URL is invalid or has expired, as at Meta."""
    media = sandbox.shelf.opened(request.query_params)
    if media is None:
        return Response(status_code=404)
    sandbox.ledger.append(channel, "media_downloaded", id=media.id, size=media.size, sha256=media.sha256)
    return FileResponse(sandbox.shelf.content(media), media_type=media.mime_type)


async def of_node(sandbox: Sandbox, channel: str, request: Request, id: str, address: str) -> Response | None:
    """Answer `GET` and `DELETE` of a file by its id; None when the id is unknown, or belongs to another number than the
    query names.
    """
    media = sandbox.shelf.find(id, request.query_params.get("phone_number_id", ""))
    if media is None:
        return None
    if request.method == "DELETE":
        return await delete(sandbox, channel, media)
    return await describe(sandbox, media, address) if request.method == "GET" else None


def fault_answer(fault: Fault, http_status: int = 0) -> Response:
    """Return the error of `fault`: Meta's body when the fault has a code, else a bare HTTP status."""
    if fault.code is not None or not (fault.http_status or http_status):
        error = GraphError(
            131000 if fault.code is None else fault.code,
            details=fault.details,
            http_status=fault.http_status or http_status,
        )
        return Response(error.encoded(), error.http_status, media_type="application/json")
    # without a code the response resembles that of a proxy in front of Meta: no JSON
    return Response(status_code=fault.http_status or http_status)
