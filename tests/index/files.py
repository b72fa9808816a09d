"""Files as users have them, and hostile ones: made here, so that each is what it says."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Final

from docx import Document
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject


def pdf(pages: Sequence[str], *, password: str = "", packed: bool = True) -> bytes:
    """Return a PDF with one text on each page; an empty text is a page without one, as of a scan."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    reference = writer._add_object(font)
    for text in pages:
        page = writer.add_blank_page(595, 842)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): reference})}
        )
        stream = DecodedStreamObject()
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n")) if text else ""
        stream.set_data(f"BT /F1 11 Tf 50 800 Td {lines}ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream.flate_encode() if packed else stream)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def pdf_bomb(megabytes: int) -> bytes:
    """Return a PDF of some kilobytes whose page unpacks to so many megabytes."""
    squeeze = zlib.compressobj(9)
    text = b"BT /F1 11 Tf (A) Tj ET " * 45_000
    packed = b"".join(squeeze.compress(text) for _ in range(megabytes)) + squeeze.flush()
    # twice: the stream itself is packed again
    packed = zlib.compress(packed, 9)
    return _raw_pdf(packed, "/Filter [/FlateDecode /FlateDecode]")


def pdf_circle() -> bytes:
    """Return a PDF whose tree of pages leads back to itself."""
    return _with_objects(
        [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1000000000 /Parent 2 0 R >>"]
    )


def pdf_nested(levels: int) -> bytes:
    """Return a PDF whose page has an array of arrays, and so on."""
    return _with_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /Deep " + b"[" * levels + b"]" * levels + b" >>",
        ]
    )


def _raw_pdf(stream: bytes, how: str) -> bytes:
    return _with_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R "
            b"/Resources << /Font << /F1 5 0 R >> >> >>",
            b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(stream), how.encode(), stream),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
    )


def _with_objects(objects: Sequence[bytes]) -> bytes:
    out, places = b"%PDF-1.7\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)


def pdf_blank(pages: int) -> bytes:
    """Return a PDF of so many empty pages, which is made at once."""
    return _with_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [" + b"3 0 R " * pages + b"] /Count %d >>" % pages,
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        ]
    )


def pdf_slow(pages: int) -> bytes:
    """Return a PDF that takes about a second a page, and has no text in the end."""
    return _with_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [" + b"3 0 R " * pages + b"] /Count %d >>" % pages,
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R "
            b"/Resources << /Font << /F1 5 0 R >> >> >>",
            _stream(b"BT /F1 11 Tf " + b"( ) Tj " * 60_000 + b"ET"),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
    )


def _stream(content: bytes) -> bytes:
    packed = zlib.compress(content, 9)
    return b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)


def docx(parts: Sequence[tuple[str, str]], *, table: Sequence[Sequence[str]] = ()) -> bytes:
    """Return a DOCX of headings and paragraphs, given as (style, text)."""
    document = Document()
    for style, text in parts:
        document.add_paragraph(text, style=style)
    if table:
        made = document.add_table(len(table), len(table[0]))
        for row, cells in zip(made.rows, table, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def docx_bomb(megabytes: int) -> bytes:
    """Return a DOCX of some kilobytes whose text unpacks to so many megabytes."""
    return _replaced(docx([("Normal", "x")]), b"<w:p/>" * (megabytes * 175_000))


def docx_entities() -> bytes:
    """Return a DOCX whose text is ten entities of ten entities, and so on ("billion laughs")."""
    kinds = "".join(f'<!ENTITY l{one + 1} "{f"&l{one};" * 10}">' for one in range(9))
    return _replaced(
        docx([("Normal", "x")]), b"<w:p><w:r><w:t>&l9;</w:t></w:r></w:p>", f'<!DOCTYPE d [<!ENTITY l0 "lol">{kinds}]>'
    )


def _replaced(content: bytes, body: bytes, doctype: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            text = old.read(entry)
            if entry.filename == "word/document.xml":
                start, end = text.index(b"<w:body>") + 8, text.index(b"</w:body>")
                text = text[:start] + body + text[end:]
                if doctype:
                    head, _, rest = text.partition(b"?>")
                    text = head + b"?>" + doctype.encode() + rest
            new.writestr(entry.filename, text)
    return out.getvalue()


TERMS: Final = (
    "Terms of the shop.\nThese are our terms for customers.",
    "Shipping takes three working days.\nOrders above 50 EUR are shipped for free.",
    "Our refund policy allows returns within 30 days.\nThe item must be unused and in its box.",
)
"""Pages of a document that tests ask about."""
