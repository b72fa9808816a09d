"""Reading and checking JSON bodies: media type, size, time, encoding, grammar, and then the fields by a table."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from typing import Any, Final, NoReturn

from starlette.requests import Request

from api.http.problems import Problem
from shared.fields import FieldsInvalid
from shared.process.request_body import read_body

TEXT_BODY_LIMIT: Final = 1 << 20
"""Bytes: the longest text of any channel (65,536 characters) with every character escaped as two surrogates fits."""
BODY_WAIT_S: Final = 10.0
"""Seconds for a whole body: a text is a few packets, also on a bad line; docs/api.md names the value."""
_MOST_VALUES: Final = 100_000
"""Approximate limit of values in a body: decoding that many blocks the process for a few hundredths of a second."""
_DECODED_AT_ONCE: Final = 64 * 1024
"""Bytes from which a body is decoded in another thread: a smaller one takes less than a millisecond, so that a switch
of threads would not pay off.
"""


BODY_PROBLEMS: Final = (
    "body_not_json",
    "body_late",
    "body_too_large",
    "media_type_unsupported",
    "body_invalid",
    "too_many_bodies",
)
"""Problems of every operation with a JSON body."""


async def read_json(
    request: Request,
    *,
    limit: int = TEXT_BODY_LIMIT,
    wait_s: float = BODY_WAIT_S,
    places: asyncio.Semaphore | None = None,
) -> Any:
    """Return the JSON value in the request's body.

    Args:
        limit: most bytes. wait_s: time for all of it to arrive. places: for large bodies; one is held while such a
            body is decoded, not while it arrives, so that clients that stop in the middle hold none.
    Raises:
        Problem: wrong media type, or not JSON. Refused: too large, too late, too many bodies at once, or too many
            values.
    """
    _require_json(request)
    # a path without a company counts for the owner "": such bodies are small
    body = await read_body(request, limit=limit, wait_s=wait_s, owner=request.path_params.get("companyId", ""))
    # a string may hold commas too: this is an upper bound, and needs no decoding
    if body.count(b",") >= _MOST_VALUES:
        raise FieldsInvalid([("", f"has more than {_MOST_VALUES} values")])
    if len(body) < _DECODED_AT_ONCE:
        return _decoded(body)
    async with places or nullcontext():
        return await asyncio.to_thread(_decoded, body)


async def read_optional_json(request: Request, *, limit: int) -> Any:
    """Return the JSON value in the request's body; a missing one means an empty object. Errors as for `read_json`."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    return await read_json(request, limit=limit)


def _decoded(body: bytes) -> Any:
    try:
        # a reader may ignore a byte order mark (RFC 8259 8.1), which some libraries write
        return _DECODER.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Problem("body_not_json", f"The body is not UTF-8: byte {error.start} cannot be decoded.") from error
    except RecursionError as error:
        # the decoder respects the interpreter's recursion limit, so that "[[[[…" ends here and not in a crash
        raise Problem("body_not_json", "The body is nested too deeply.") from error
    except json.JSONDecodeError as error:
        # the decoder's own wording names positions, never what stands there
        raise Problem(
            "body_not_json", f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from error
    except ValueError as error:
        # last, since the errors of JSON and UTF-8 are ValueErrors too: what is left is an integer of more than 4,300
        # digits, which Python does not convert (its conversion takes quadratic time)
        raise Problem("body_not_json", "The body holds a number that is too long.") from error


def _require_json(request: Request) -> None:
    content_type = request.headers.get("content-type", "")
    # most clients send exactly this: it is compared before anything is parsed
    if content_type != "application/json":
        _require_json_type(content_type)
    # a compressed body can unpack to a thousand times its size, and every limit counts the bytes that arrive
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("media_type_unsupported", "The body must not be compressed.")


def _require_json_type(content_type: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    # `+json`: the structured suffix of RFC 6839, for example application/merge-patch+json
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem(
            "media_type_unsupported", "The body must be application/json.", headers={"Accept": "application/json"}
        )
    # RFC 8259 defines no charset for JSON and requires UTF-8; many clients name one nevertheless
    charsets = [
        parameter.removeprefix("charset=").strip('"') for parameter in parameters if parameter.startswith("charset=")
    ]
    if any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise Problem("media_type_unsupported", "The body must be in UTF-8.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # RFC 8259 leaves the meaning of a repeated name open: two readers of one body could see different messages
    if len(found) != len(pairs):
        raise Problem("body_not_json", "The body has an object with the same name twice.")
    return found


def _refuse_constant(_: str) -> NoReturn:
    # Python's decoder takes them by default; PostgreSQL's jsonb refuses them
    raise Problem("body_not_json", "NaN and Infinity are not JSON.")


def _number(text: str) -> float:
    # in JSON 242.0 is the integer 242 (JSON Schema 2020-12, 6.1.1); beyond 2^53 a double is not exact
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse_constant, parse_float=_number)
"""Made once: making one costs more than reading a message."""
