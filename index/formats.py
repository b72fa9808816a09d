"""Reads the text of files: PDF, DOCX, plain text, Markdown. Runs in a process with limits (`index.reader`) and nowhere
else. The only door to pypdf and python-docx.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from index.chunks import Block
from shared.document_types import DOCX, MARKDOWN, PDF, TEXT

PAGES_MOST: Final = 5000
"""Pages of a PDF: a longer one is a collection, and is better uploaded in parts."""
UNPACKED_MOST: Final = 200 * 1024 * 1024
"""Bytes of everything in a DOCX when it is unpacked."""
_HEADING: Final = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_FENCE: Final = re.compile(r"\s*(```|~~~)")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_HYPHENATED: Final = re.compile(r"(?<=[a-zß-ÿ])[-\u00ad]\n(?=[a-zß-ÿ])")
_BLANK: Final = re.compile(r"\n\s*\n")


class FileRefused(Exception):
    """Raised when a file cannot be read, whatever is tried; `code` is a row of `index.reasons.REASONS`."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts


@dataclass(slots=True)
class FileFacts:
    """What is known of a file when its text was read: pages (None: the format has none), and those without a text that
    could be read.
    """

    pages: int | None = None
    unreadable: list[int] = field(default_factory=list)


def blocks(content: bytes, mimetype: str, facts: FileFacts) -> Iterator[Block]:
    """Yield the paragraphs of a file.

    Args:
        facts: filled on the way.
    Raises:
        FileRefused: it is damaged, encrypted, of another type, or beyond a limit.
    """
    try:
        reader = _READERS[mimetype]
    except KeyError:
        raise FileRefused("type_unsupported") from None
    for block in reader(content, facts):
        if text := _CONTROLS.sub("", block.text).strip():
            yield Block(text, block.page, _CONTROLS.sub("", block.section))


def _pdf(content: bytes, facts: FileFacts) -> Iterator[Block]:
    # imported on use: each library costs a process that reads another format its memory
    from pypdf import PdfReader  # noqa: PLC0415
    from pypdf.errors import FileNotDecryptedError, PyPdfError  # noqa: PLC0415

    try:
        document = PdfReader(io.BytesIO(content))
        # many files are encrypted with an empty password, to forbid printing
        if document.is_encrypted and not document.decrypt(""):
            raise FileRefused("encrypted")
        facts.pages = len(document.pages)
    except FileNotDecryptedError:
        raise FileRefused("encrypted") from None
    # what a damaged file raises is of any type: recursion without end, a number in place of a name, …
    except (PyPdfError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OSError) as error:
        raise FileRefused("damaged", error=type(error).__name__) from error
    # cryptography is of other extras
    except ModuleNotFoundError:
        raise FileRefused("encrypted") from None
    if facts.pages > PAGES_MOST:
        raise FileRefused("too_many_pages", pages=facts.pages, limit=PAGES_MOST)
    for number in range(facts.pages):
        try:
            text = document.pages[number].extract_text()
        except (
            PyPdfError,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
            RecursionError,
            NotImplementedError,
            AssertionError,
            ZeroDivisionError,
            OSError,
        ):
            # the others may be sound: it is listed, and a file of which none is sound is damaged
            facts.unreadable.append(number + 1)
            continue
        for paragraph in _BLANK.split(_HYPHENATED.sub("", text)):
            yield Block(paragraph, number + 1)
    if facts.pages and len(facts.unreadable) == facts.pages:
        raise FileRefused("damaged", error="no page can be read")


def _docx(content: bytes, _: FileFacts) -> Iterator[Block]:
    from docx import Document  # noqa: PLC0415 - as above
    from docx.opc.exceptions import OpcError  # noqa: PLC0415
    from docx.oxml.exceptions import InvalidXmlError  # noqa: PLC0415
    from docx.table import Table  # noqa: PLC0415
    from lxml.etree import LxmlError  # noqa: PLC0415

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            encrypted = any(entry.flag_bits & 1 for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise FileRefused("damaged", error=type(error).__name__) from error
    if encrypted:
        raise FileRefused("encrypted")
    if unpacked > UNPACKED_MOST:
        raise FileRefused("too_large_unpacked", limit=UNPACKED_MOST)
    try:
        document = Document(io.BytesIO(content))
    except ValueError as error:
        # a workbook or a presentation
        raise FileRefused("type_unsupported", error=type(error).__name__) from error
    except (OpcError, LxmlError, InvalidXmlError, KeyError, zipfile.BadZipFile, zipfile.error, OSError) as error:
        raise FileRefused("damaged", error=type(error).__name__) from error
    section = ""
    for item in document.iter_inner_content():
        if isinstance(item, Table):
            for row in item.rows:
                # a cell that spans several columns is listed once for each
                cells = dict.fromkeys(cell.text.strip() for cell in row.cells)
                yield Block(" | ".join(filter(None, cells)), section=section)
            continue
        style = item.style.name if item.style is not None else ""
        if style is not None and style.startswith(("Heading", "Title")) and item.text.strip():
            section = item.text
        else:
            yield Block(item.text, section=section)


def _decoded(content: bytes) -> str:
    try:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileRefused("not_unicode") from error


def _text(content: bytes, _: FileFacts) -> Iterator[Block]:
    for paragraph in _BLANK.split(_decoded(content).replace("\r\n", "\n")):
        yield Block(paragraph)


def _markdown(content: bytes, _: FileFacts) -> Iterator[Block]:
    section, fenced = "", False
    lines: list[str] = []
    for line in _decoded(content).splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.fullmatch(line)
        if heading is not None or (not fenced and not line.strip()):
            yield Block("\n".join(lines), section=section)
            lines.clear()
            section = heading[2] if heading is not None else section
        else:
            lines.append(line)
    yield Block("\n".join(lines), section=section)


_READERS: Final[Mapping[str, Callable[[bytes, FileFacts], Iterator[Block]]]] = {
    PDF: _pdf,
    DOCX: _docx,
    TEXT: _text,
    MARKDOWN: _markdown,
}
