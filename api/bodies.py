"""Reading and checking JSON bodies: media type, size, time, encoding, grammar, and then the fields by a table."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NoReturn

from starlette.requests import Request

from api.problems import Problem

TEXT_BODY_LIMIT: Final = 1 << 20
"""Bytes: the longest text of any channel (65,536 characters) with every character escaped as two surrogates fits."""
BODY_WAIT_S: Final = 10.0


async def read_json(request: Request, *, limit: int = TEXT_BODY_LIMIT, wait_s: float = BODY_WAIT_S) -> Any:
    """Return the JSON value in the request's body.

    Args:
        limit: most bytes. wait_s: time for all of it to arrive.
    Raises:
        Problem: wrong media type, too large, too late, or not JSON.
    """
    _require_json(request)
    body = await _read(request, limit, wait_s)
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Problem("body_not_json", f"The body is not UTF-8: byte {error.start} cannot be decoded.") from error
    except RecursionError as error:
        raise Problem("body_not_json", "The body is nested too deeply.") from error
    except json.JSONDecodeError as error:
        # the decoder's own wording names positions, never what stands there
        raise Problem(
            "body_not_json", f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from error
    except ValueError as error:
        raise Problem("body_not_json", "The body holds a number that is too long.") from error


def _require_json(request: Request) -> None:
    content_type = request.headers.get("content-type", "")
    if content_type != "application/json":
        _require_json_type(content_type)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("media_type_unsupported", "The body must not be compressed.")


def _require_json_type(content_type: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem(
            "media_type_unsupported", "The body must be application/json.", headers={"Accept": "application/json"}
        )
    charsets = [
        parameter.removeprefix("charset=").strip('"') for parameter in parameters if parameter.startswith("charset=")
    ]
    if any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise Problem("media_type_unsupported", "The body must be in UTF-8.")


async def _read(request: Request, limit: int, wait_s: float) -> bytes:
    require_size(request, limit)
    body = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large(limit)
    except TimeoutError as error:
        raise late(wait_s) from error
    return bytes(body)


def require_size(request: Request, limit: int) -> None:
    """Raise `Problem` when the request says itself that its body has more than `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(limit)


def too_large(limit: int) -> Problem:
    """Return the refusal of a body with more than `limit` bytes."""
    # a larger body is not read to its end, so the connection cannot carry another request
    return Problem(
        "body_too_large", f"The body has more than {limit} bytes.", headers={"Connection": "close"}, limit=limit
    )


def late(wait_s: float) -> Problem:
    """Return the refusal of a body that did not come."""
    return Problem("body_late", f"The body did not arrive within {wait_s:g} s.", headers={"Connection": "close"})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Problem("body_not_json", "The body has an object with the same name twice.")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise Problem("body_not_json", "NaN and Infinity are not JSON.")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse_constant)
"""Made once: making one costs more than reading a message."""
