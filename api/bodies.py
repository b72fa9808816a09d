"""Reading and checking JSON bodies: media type, size, time, encoding, grammar, and then the fields by a table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from starlette.requests import Request

from api.problems import Problem

TEXT_BODY_LIMIT: Final = 1 << 20
"""Bytes: the longest text of any channel (65,536 characters) with every character escaped as two surrogates fits."""
BODY_WAIT_S: Final = 10.0
_TYPE_NAMES: Final = ((bool, "true or false"), (str, "a string"), (int, "an integer"), (float, "a number"), (list, "an array"), (dict, "an object"))


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a body.

    Attributes:
        kind: `str` or `int`. low, high: for integers. longest: for strings, in characters; 0: checked elsewhere. choices: allowed values.
    """

    name: str
    kind: type
    purpose: str
    required: bool = False
    default: Any = None
    low: int = 0
    high: int = 0
    longest: int = 0
    choices: tuple[str, ...] = ()


async def read_json(request: Request, *, limit: int = TEXT_BODY_LIMIT) -> Any:
    """Return the JSON value in the request's body.

    Args:
        limit: most bytes.
    Raises:
        Problem: wrong media type, too large, too late, or not JSON.
    """
    _require_json(request)
    body = await _read(request, limit)
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Problem("body_not_json", f"The body is not UTF-8: byte {error.start} cannot be decoded.") from error
    except RecursionError as error:
        raise Problem("body_not_json", "The body is nested too deeply.") from error
    except json.JSONDecodeError as error:
        # the decoder's own wording names positions, never what stands there
        raise Problem("body_not_json", f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from error
    except ValueError as error:
        raise Problem("body_not_json", "The body holds a number that is too long.") from error


def read_fields(value: Any, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the checked fields of a body, with defaults for those that are not given.

    Raises:
        Problem: `body_invalid` with every wrong place.
    """
    if not isinstance(value, dict):
        raise _invalid([("", f"must be an object, not {_named(value)}")])
    known = {field.name: field for field in fields}
    errors = [(_pointer(name), f"is not a field of this operation; it takes {', '.join(known)}") for name in value if name not in known]
    for field in fields:
        if field.name not in value:
            if field.required:
                errors.append((_pointer(field.name), "is missing"))
        elif reason := _wrong(value[field.name], field):
            errors.append((_pointer(field.name), reason))
    if errors:
        raise _invalid(errors)
    return {field.name: value.get(field.name, field.default) for field in fields}


def _require_json(request: Request) -> None:
    media_type, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    if media_type != "application/json" and not (media_type.startswith("application/") and media_type.endswith("+json")):
        raise Problem("media_type_unsupported", "The body must be application/json.", headers={"Accept": "application/json"})
    charsets = [parameter.removeprefix("charset=").strip('"') for parameter in parameters if parameter.startswith("charset=")]
    if any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise Problem("media_type_unsupported", "The body must be in UTF-8.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("media_type_unsupported", "The body must not be compressed.")


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise Problem("body_late", f"The body did not arrive within {BODY_WAIT_S:g} s.", headers={"Connection": "close"}) from error
    return bytes(body)


def _too_large(limit: int) -> Problem:
    # a larger body is not read to its end, so the connection cannot carry another request
    return Problem("body_too_large", f"The body has more than {limit} bytes.", headers={"Connection": "close"}, limit=limit)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Problem("body_not_json", "The body has an object with the same name twice.")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise Problem("body_not_json", "NaN and Infinity are not JSON.")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse_constant)
"""Made once: making one costs more than reading a message."""


def _wrong(value: Any, field: Field) -> str:
    if type(value) is not field.kind:
        return f"must be {_kind_name(field.kind)}, not {_named(value)}"
    if isinstance(value, str):
        return _wrong_text(value, field)
    return "" if isinstance(value, int) and field.low <= value <= field.high else f"must be from {field.low} to {field.high}"


def _wrong_text(value: str, field: Field) -> str:
    if "\0" in value:
        return "must not hold the character NUL"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "holds half of a surrogate pair, which is no character"
    if field.longest and len(value) > field.longest:
        return f"has {len(value)} characters; at most {field.longest} are allowed"
    if field.choices and value not in field.choices:
        return f"must be one of {', '.join(field.choices)}"
    return ""


def _invalid(errors: Sequence[tuple[str, str]]) -> Problem:
    listed = [{"pointer": pointer, "reason": reason} for pointer, reason in errors]
    sentences = "; ".join(f"{pointer or 'the body'} {reason}" for pointer, reason in errors[:3])
    return Problem("body_invalid", f"{sentences}.", errors=listed[:50])


def _pointer(name: str) -> str:
    # a name can be anything; what cannot be shown is replaced
    shown = name[:60].encode("utf-8", "replace").decode()
    return "/" + shown.replace("~", "~0").replace("/", "~1")


def _kind_name(kind: type) -> str:
    return dict(_TYPE_NAMES)[kind]


def _named(value: Any) -> str:
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "null")


def json_schema(fields: Sequence[Field]) -> Mapping[str, Any]:
    """Return the fields as a JSON schema, for `/openapi.json`."""
    properties: dict[str, Any] = {}
    for field in fields:
        schema: dict[str, Any] = {"type": "string" if field.kind is str else "integer", "description": field.purpose}
        if field.kind is int:
            schema |= {"minimum": field.low, "maximum": field.high}
        if field.longest:
            schema["maxLength"] = field.longest
        if field.choices:
            schema["enum"] = list(field.choices)
        if field.default is not None:
            schema["default"] = field.default
        properties[field.name] = schema
    return {"type": "object", "additionalProperties": False, "required": [field.name for field in fields if field.required], "properties": properties}
