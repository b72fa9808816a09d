"""Reads `multipart/form-data` as it arrives: texts as a whole, files in pieces, so that a file is stored without a copy
in between. The only door to python_multipart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from shared.errors import Refused

_MOST_PARTS: Final = 40
"""Parts: three times the fields of the largest message type (12); each part costs an object and its headers."""
_TEXT_MOST: Final = 256 * 1024
"""Bytes of a part that is no file: the longest text of any channel, 65,536 characters of up to four bytes."""


class NotMultipart(Refused):
    """Raised when a body is no form, or is truncated. `reason` is without any content."""

    def __init__(self, reason: str) -> None:
        super().__init__("form_invalid", f"The form cannot be read: {reason}.")


@dataclass(frozen=True, slots=True)
class Text:
    """One part of a form that is no file."""

    name: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FormFile:
    """One part of a form that is a file.

    Attributes:
        filename, mimetype: as the sender names them. pieces: its content; to be read before the next part.
    """

    name: str
    filename: str
    mimetype: str
    pieces: AsyncIterator[bytes] = field(repr=False)


async def parts(content_type: str, stream: AsyncIterator[bytes]) -> AsyncIterator[Text | FormFile]:
    """Yield each part of a form in turn.

    Args:
        content_type: the request's header. stream: its body; what it raises is raised here.
    Raises:
        NotMultipart: the body does not match the header.
    """
    form = _Form(content_type, stream)
    for _ in range(_MOST_PARTS):
        headers = await form.next_headers()
        if headers is None:
            return
        disposition, options = parse_options_header(headers.get("content-disposition", ""))
        # RFC 7578 4.2: every part has this header with a name
        if disposition != b"form-data" or b"name" not in options:
            raise NotMultipart("a part has no Content-Disposition: form-data with a name")
        name = _decoded(options[b"name"])
        if b"filename" not in options:
            yield Text(name, await form.text())
            continue
        yield FormFile(name, _decoded(options[b"filename"]), headers.get("content-type", ""), form.pieces())
        # the reader may have left a file unread, and the parser must reach the next part
        await form.skip()
    raise NotMultipart(f"the form has more than {_MOST_PARTS} parts")


class _Form:
    """Turns the parser's callbacks into events that can be awaited."""

    def __init__(self, content_type: str, stream: AsyncIterator[bytes]) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise NotMultipart("the header Content-Type names no boundary")
        self._stream = stream
        # events of the parser that are not consumed yet: one chunk can end several parts; bounded by the chunk's size
        self._seen: deque[tuple[str, Any]] = deque()
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[str, str] = {}
        # whether the current part was read to its end
        self._ended = True
        # a header's name and value may come in several pieces, where a chunk ends within them; slices are copied,
        # since the parser owns the chunk
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": lambda: self._seen.append(("headers", self._headers)),
            "on_part_data": lambda data, start, end: self._seen.append(("data", bytes(data[start:end]))),
            "on_part_end": lambda: self._seen.append(("end", None)),
            "on_end": lambda: self._seen.append(("last", None)),
        }
        try:
            # its type requires one name for each key
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise NotMultipart("the boundary in Content-Type cannot be used") from error

    async def next_headers(self) -> dict[str, str] | None:
        """Return the headers of the next part, None after the last."""
        kind, value = await self._next()
        if kind == "last":
            return None
        self._ended = False
        return dict(value)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the content of the part."""
        while True:
            kind, value = await self._next()
            if kind != "data":
                self._ended = True
                return
            yield value

    async def text(self) -> str:
        """Return the content of the part as a text."""
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > _TEXT_MOST:
                raise NotMultipart(f"a field that is no file has more than {_TEXT_MOST} bytes")
        return _decoded(bytes(content))

    async def skip(self) -> None:
        """Skip the unread rest of a part."""
        while not self._ended:
            self._ended = (await self._next())[0] != "data"

    async def _next(self) -> tuple[str, Any]:
        while not self._seen:
            try:
                # one chunk at a time: the client is read only as fast as the file is stored
                self._parser.write(await anext(self._stream))
            except StopAsyncIteration:
                # the body ended without the closing boundary: the file may be incomplete and must not be kept
                raise NotMultipart("the form breaks off before its last boundary") from None
            except FormParserError as error:
                raise NotMultipart("the form does not keep to its boundary and headers") from error
        return self._seen.popleft()

    def _begin(self) -> None:
        self._headers = {}

    def _end_header(self) -> None:
        # names are case-insensitive; Latin-1 maps every byte to a character and back, so that a file name in UTF-8
        # survives until `_decoded`
        self._headers[self._name.decode("latin-1").strip().lower()] = self._value.decode("latin-1").strip()
        self._name, self._value = bytearray(), bytearray()


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        # without its cause, which quotes the content
        raise NotMultipart("a field or a file's name is not in UTF-8") from None
