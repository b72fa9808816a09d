"""Types of files that can be indexed, by what is in them. A name decides only between plain text and Markdown, which
no content can.
"""

from __future__ import annotations

from typing import Final

PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
TEXT: Final = "text/plain"
MARKDOWN: Final = "text/markdown"

DOCUMENT_BYTES: Final = 32 * 1024 * 1024
"""Largest document: a book with pictures."""
_PDF_MARK: Final = b"%PDF-"
_PDF_WITHIN: Final = 1024
"""Bytes within which the mark stands, as Adobe's reader takes it."""
_ZIP: Final = b"PK\x03\x04"
_OF_DOCX: Final = (b"[Content_Types].xml", b"word/", b"_rels/.rels")
"""Names of which an archive's first entry has one; a workbook has too, which shows when it is read."""
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")
_MARKDOWN_ENDS: Final = (".md", ".markdown")


def document_type(head: bytes, filename: str) -> str | None:
    """Return the type of a file, None when it cannot be indexed.

    Args:
        head: its first bytes (`shared.media.files.HEAD_BYTES`).
    """
    if _PDF_MARK in head[:_PDF_WITHIN]:
        return PDF
    if head.startswith(_ZIP):
        return DOCX if any(name in head for name in _OF_DOCX) else None
    if not (head.startswith(_WIDE) or _is_utf8(head)):
        return None
    return MARKDOWN if filename.lower().endswith(_MARKDOWN_ENDS) else TEXT


def _is_utf8(head: bytes) -> bool:
    if not _CONTROLS.isdisjoint(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # a character that the end of the head cuts is none the worse for it
        return error.reason == "unexpected end of data"
    return True
