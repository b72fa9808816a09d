"""Bodies of calls to the Graph API as clients write them: JSON or a form, `null` for what is absent, the token among
the parameters, types in capitals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from sandbox.graph_errors import GraphError

_BODY_MAX: Final = 1 << 20
"""Largest body in bytes; files go to other calls."""
_FORM: Final = "application/x-www-form-urlencoded"
_FREE_TEXT: Final = frozenset({"biz_opaque_callback_data"})
"""Parameters whose text is opaque: never decoded as JSON."""


def _refuse_constant(name: str) -> None:
    # Python's decoder accepts NaN and Infinity, which JSON does not have
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
"""Created once: creating one costs more than decoding a message."""


async def read_body(request: Request, *, missing: str = "messaging_product") -> dict[str, Any]:
    """Return the parameters that `request` carries, without those that are `null` and without the token.

    Args:
        missing: the parameter that the refusal of an unreadable body names.
    Raises:
        GraphError: 100, as Meta answers when it finds no parameters in a body.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > _BODY_MAX:
        raise GraphError(100, details=f"The body is larger than {_BODY_MAX} bytes")
    body = _decoded(await request.body(), request.headers.get("content-type", ""))
    if not isinstance(body, dict):
        raise GraphError(
            100, message=f"(#100) The parameter {missing} is required.", details="The body is not a JSON object"
        )
    # checked elsewhere; it must not reach the ledger
    body.pop("access_token", None)
    return body


async def token_in_body(request: Request) -> str:
    """Return the access token among a POST's parameters; empty when there is none, or the body cannot be read."""
    if request.method != "POST" or not request.headers.get("content-type", "").startswith(("application/json", _FORM)):
        return ""
    body = _decoded(await request.body(), request.headers.get("content-type", ""))
    token = body.get("access_token") if isinstance(body, dict) else None
    return token if isinstance(token, str) else ""


def _decoded(raw: bytes, content_type: str) -> Any:
    """Decode a body; None when it cannot be decoded."""
    try:
        # as `json.loads` reads bytes: JSON may be UTF-16 or UTF-32 too
        text = raw.decode(json.detect_encoding(raw), "surrogatepass")
        if content_type.startswith(_FORM):
            given: Any = dict(parse_qsl(text, keep_blank_values=True))
        else:
            given = _DECODER.decode(text)
        if isinstance(given, dict):
            given = {name: _parameter(name, value) for name, value in given.items()}
        return _present(given)
    # a body that cannot be decoded has no parameters: Meta then reports the first missing one
    except (ValueError, RecursionError):
        return None


def _parameter(name: str, value: Any) -> Any:
    """Return a parameter's value. Objects and lists may be JSON text, in forms as well as in JSON bodies."""
    if not isinstance(value, str) or value[:1] not in ("{", "[") or name in _FREE_TEXT:
        return value
    try:
        return _DECODER.decode(value)
    except ValueError:
        return value


def _present(value: Any) -> Any:
    """Return a value without members that are `null`: Meta treats them as absent."""
    if isinstance(value, dict):
        return {name: _present(member) for name, member in value.items() if member is not None}
    return [_present(member) for member in value] if isinstance(value, list) else value


def in_lower_case(body: dict[str, Any]) -> dict[str, Any]:
    """Return a message with the types of template components and parameters in lower case: Meta accepts both cases."""
    template = body.get("template")
    if not isinstance(template, Mapping) or not isinstance(template.get("components"), list):
        return body
    return {**body, "template": {**template, "components": [_lowered(one) for one in template["components"]]}}


def _lowered(component: Any) -> Any:
    if not isinstance(component, Mapping):
        return component
    lowered = {
        name: value.lower() if name == "type" and isinstance(value, str) else value for name, value in component.items()
    }
    # a carousel's cards hold components of their own
    for name in ("parameters", "cards", "components"):
        if isinstance(lowered.get(name), list):
            lowered[name] = [_lowered(one) for one in lowered[name]]
    return lowered
