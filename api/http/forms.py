"""Forms with one file: the fields that come before it, the file into storage as it arrives, the fields after it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request

from api.http.bodies import late, require_size, too_large
from api.http.multipart import NotMultipart, Part, parts
from api.http.problems import Problem
from shared.channels.files import LARGEST
from shared.compose.files import Files
from shared.fields import Field, FieldsInvalid, pointer
from shared.store.media import StoredFile

_FORM_EXTRA: Final = 1 << 20
"""Bytes that a form may have in addition to its file: its other fields and the headers of its parts are a few KiB."""
_SILENT_S: Final = 10.0
"""Seconds: longest pause between two pieces of a body that holds a file; as long as a text body has in all."""
_UPLOAD_S: Final = 600.0
"""Seconds for the whole of it: the largest file (100 MiB) at 1.4 Mbit/s. Ends uploads that send a byte now and then."""


class Form:
    """A form as it arrives. What is read of it raises `Problem` for what is no such form, and `FieldsInvalid`.

    Attributes:
        texts: fields that are no file, as far as the form was read. file: what was kept of its file, None until then.
    """

    @classmethod
    def of(cls, request: Request) -> Form | None:
        """Return the form of a request, None when its body is something else."""
        is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
        return cls(request) if is_form else None

    def __init__(self, request: Request) -> None:
        require_size(request, LARGEST + _FORM_EXTRA)
        content_type = request.headers.get("content-type", "")
        self._parts = parts(content_type, arriving(request, LARGEST + _FORM_EXTRA))
        self._part: Part | None = None
        self.texts: dict[str, str] = {}
        self.file: StoredFile | None = None

    async def head(self) -> bool:
        """Read up to the file, or to the end; return whether a file is next."""
        try:
            # the generator stays where it is on return: the next call continues behind the file
            async for part in self._parts:
                if part.name in self.texts or (part.name == "file" and self.file):
                    # readers of forms differ in which of two fields counts
                    raise FieldsInvalid([(pointer(part.name), "stands twice in the form")])
                if part.filename is None:
                    self.texts[part.name] = await part.text()
                elif part.name == "file":
                    self._part = part
                    return True
                else:
                    raise FieldsInvalid([(pointer(part.name), "is a file; the file's field is called file")])
        except NotMultipart as error:
            raise _form_invalid(error) from error
        return False

    async def rest(self, files: Files, company_id: str, most: int) -> None:
        """Put the file that is next into storage, and read on to the end.

        Args:
            most: bytes of the file.
        Raises:
            Refused: the file is too large or empty, or the storage is away.
        """
        part = self._part
        if part is None:
            raise LookupError("no file is next in the form")
        try:
            self.file = await files.keep(
                company_id,
                part.pieces,
                # the fields win over the part's own headers, which HTTP libraries fill in by guessing
                declared=self.texts.get("mimetype", "") or part.mimetype,
                filename=self.texts.get("filename", "") or part.filename or "",
                most=most,
                field="file",
            )
        except NotMultipart as error:
            raise _form_invalid(error) from error
        # a second file is refused there; what follows the file are fields
        await self.head()


def form_fields(given: Mapping[str, str], fields: tuple[Field, ...]) -> dict[str, Any]:
    """Return the texts of a form as the values that its fields hold; what cannot be read stays a text, and is refused
    with the other fields.
    """
    kinds = {field.name: field.kind for field in fields}
    # a form has texts only (RFC 7578): the field's kind decides what they mean
    return {name: _FROM_TEXT.get(kinds.get(name, str), str)(text) for name, text in given.items()}


def _form_invalid(error: NotMultipart) -> Problem:
    # the rest of the body is not read, so the connection cannot carry another request
    return Problem("form_invalid", f"The form cannot be read: {error}.", headers={"Connection": "close"})


def _integer(text: str) -> int | str:
    # nine digits: no field takes more, and the conversion of a long text is slow
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _yes_or_no(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


_FROM_TEXT: Final[Mapping[type, Callable[[str], Any]]] = {int: _integer, bool: _yes_or_no}


async def arriving(request: Request, most: int) -> AsyncIterator[bytes]:
    """Yield a body as it arrives.

    Args:
        most: bytes.
    Raises:
        Problem: it is larger, or does not arrive.
    """
    stream, size = request.stream(), 0
    # two limits: for the pause and for the whole; one timer serves both
    by = asyncio.get_running_loop().time() + _UPLOAD_S
    while True:
        try:
            async with asyncio.timeout_at(min(by, asyncio.get_running_loop().time() + _SILENT_S)):
                piece = await anext(stream)
        except StopAsyncIteration:
            # the end of the body; inside a generator this exception would become a RuntimeError
            return
        except TimeoutError as error:
            raise late(_SILENT_S) from error
        size += len(piece)
        if size > most:
            raise too_large(most)
        yield piece
