"""Forms with one file (`multipart/form-data`): converts the fields, and streams the file."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request

from api.http.multipart import FormFile, Text, parts
from shared.channels.files import LARGEST
from shared.fields import Field, FieldsInvalid, pointer
from shared.process.request_body import stream_body

FILE: Final = "file"
"""Name of the field that holds the file."""
_FORM_EXTRA: Final = 1 << 20
"""Bytes that a form may have in addition to its file: its other fields and the headers of its parts are a few KiB."""


def is_form(request: Request) -> bool:
    """Return whether the body is declared as a form."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_form(request: Request, fields: Sequence[Field]) -> AsyncIterator[tuple[str, Any] | FormFile]:
    """Yield each field of a form as its name and its value, and the file as an `FormFile`.

    The fields `mimetype` and `filename` describe the file. Before the file they override the part's own headers; they
    are never yielded.

    Args:
        fields: of the operation; their kinds determine the conversion. A value that cannot be converted, or belongs to
            no field, stays a text, and is refused with the other fields.
    Raises:
        Refused: the body is no form, too large or too late, a name stands twice, or a file has another name.
    """
    # a form has texts only (RFC 7578)
    values = {field.name: _VALUES.get(field.kind, str) for field in fields}
    seen, described = set(), {"mimetype": "", "filename": ""}
    body = stream_body(request, limit=LARGEST + _FORM_EXTRA)
    async for part in parts(request.headers.get("content-type", ""), body):
        # parsers of forms differ in which of two fields counts
        if part.name in seen:
            raise FieldsInvalid([(pointer(part.name), "stands twice in the form")])
        seen.add(part.name)
        if isinstance(part, Text) and part.name in described:
            described[part.name] = part.text
        elif isinstance(part, Text):
            yield part.name, values.get(part.name, str)(part.text)
        elif part.name == FILE:
            # HTTP libraries fill the part's headers in by guessing
            yield replace(
                part,
                mimetype=described["mimetype"] or part.mimetype,
                filename=described["filename"] or part.filename,
            )
        else:
            raise FieldsInvalid([(pointer(part.name), f"is a file; the file's field is called {FILE}")])


def _integer(text: str) -> int | str:
    # nine digits: no field takes more, and the conversion of a long text is slow
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _yes_or_no(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


_VALUES: Final[Mapping[type, Callable[[str], Any]]] = {int: _integer, bool: _yes_or_no}
