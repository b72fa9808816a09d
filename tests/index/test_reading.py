"""Files are read by a process with limits: what they hold comes out, and what they do stays there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from index.reading import ReadFile, ReadingLimits, read_file
from index.reasons import IndexingFailed
from shared.document_types import DOCX, MARKDOWN, PDF, TEXT, document_type
from shared.media.errors import StorageUnavailable
from tests.index import files

MARKERS = {"BULKHEAD_HOME": "/nowhere", "PROCESS_INCARNATION": "test.1"}
SMALL = ReadingLimits(cpu_s=5, wall_s=40.0, memory_mb=400)


def read(content: bytes, mimetype: str, limits: ReadingLimits = SMALL, size: int = 512) -> ReadFile:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    return asyncio.run(read_file(pieces(), mimetype, size=size, overlap=64, markers=MARKERS, limits=limits))


def refused(content: bytes, mimetype: str, limits: ReadingLimits = SMALL) -> str:
    with pytest.raises(IndexingFailed) as failure:
        read(content, mimetype, limits)
    assert failure.value.text.endswith("."), failure.value.text
    return failure.value.code


def test_pages_of_a_pdf() -> None:
    found = read(files.pdf(files.TERMS), PDF)
    assert [(chunk.page, chunk.text.split("\n")[0]) for chunk in found.chunks] == [
        (1, "Terms of the shop. These are our terms for customers."),
        (2, "Shipping takes three working days. Orders above 50 EUR are shipped for free."),
        (3, "Our refund policy allows returns within 30 days. The item must be unused and in its box."),
    ]
    assert (found.pages, found.unreadable) == (3, 0)


def test_sections_and_tables_of_a_docx() -> None:
    content = files.docx(
        [("Heading 1", "Prices"), ("Normal", "All prices are in EUR.")], table=[["Room", "Price"], ["Double", "90"]]
    )
    (chunk,) = read(content, DOCX).chunks
    assert chunk.section == "Prices"
    assert chunk.text == "Prices\nAll prices are in EUR.\nRoom | Price\nDouble | 90"


def test_sections_of_markdown_and_paragraphs_of_text() -> None:
    found = read(b"# A\n\nOne.\n\n```\n# no heading\n```\n## B ##\nTwo.", MARKDOWN)
    assert [(chunk.section, chunk.text) for chunk in found.chunks] == [
        ("A", "A\nOne.\n``` # no heading ```"),
        ("B", "B\nTwo."),
    ]
    assert read("\ufeffÄpfel.\r\n\r\nBirnen.".encode(), TEXT).chunks[0].text == "Äpfel.\nBirnen."
    assert read("Äpfel.".encode("utf-16"), TEXT).chunks[0].text == "Äpfel."


def test_a_scan_has_no_text() -> None:
    assert read(files.pdf(["", ""]), PDF) == ReadFile(chunks=[], pages=2, unreadable=0)


@pytest.mark.parametrize(
    ("made", "mimetype", "code"),
    [
        (lambda: files.pdf(["a"], password="secret"), PDF, "encrypted"),
        (lambda: files.pdf(["a"] * 3)[:400], PDF, "damaged"),
        (lambda: b"%PDF-1.7\n" + os.urandom(5000), PDF, "damaged"),
        (lambda: files.docx([("Normal", "x")])[:2000], DOCX, "damaged"),
        (files.docx_entities, DOCX, "damaged"),
        (lambda: b"caf\xe9 au lait", TEXT, "not_unicode"),
        (lambda: b"{}", "application/json", "type_unsupported"),
    ],
    ids=["encrypted", "truncated", "noise", "half-docx", "entities", "latin-1", "json"],
)
def test_what_cannot_be_read_says_why(made: Callable[[], bytes], mimetype: str, code: str) -> None:
    assert refused(made(), mimetype) == code


@pytest.mark.parametrize(
    ("made", "mimetype", "codes"),
    [
        (lambda: files.pdf_bomb(600), PDF, {"too_much_memory", "too_slow", "damaged"}),
        (lambda: files.docx_bomb(300), DOCX, {"too_large_unpacked"}),
        (lambda: files.docx_bomb(150), DOCX, {"too_much_memory", "too_slow", "damaged"}),
        (files.pdf_circle, PDF, {"damaged", "too_many_pages", "too_slow"}),
        (lambda: files.pdf_nested(200_000), PDF, {"damaged", "too_slow", "reader_died", "too_much_memory"}),
        (lambda: files.pdf([""]).replace(b"/Count 1", b"/Count 9"), PDF, {"damaged"}),
    ],
    ids=["pdf-bomb", "docx-bomb", "docx-memory", "circle", "nested", "wrong-count"],
)
def test_bombs_harm_their_reader_alone(made: Callable[[], bytes], mimetype: str, codes: set[str]) -> None:
    content = made()
    assert len(content) < 4_000_000
    try:
        found = read(content, mimetype)
    except IndexingFailed as failure:
        assert failure.code in codes, failure.text
    else:
        # read within the limits: that is no harm either
        assert len(found.chunks) <= SMALL.chunks


def test_ten_thousand_pages_are_refused_with_what_to_do() -> None:
    assert refused(files.pdf(["a page"] * 10_000), PDF, ReadingLimits(cpu_s=60, wall_s=100.0)) == "too_many_pages"


def test_more_passages_than_agreed_are_not_taken() -> None:
    limits = ReadingLimits(cpu_s=20, chunks=3)
    assert refused(b"Some words are here. " * 3000, TEXT, limits) == "too_much_text"


def test_a_file_that_takes_too_long_is_given_up_by_the_clock_too() -> None:
    content = b"Words. " * 2_000_000
    assert refused(content, TEXT, ReadingLimits(cpu_s=60, wall_s=0.5)) == "too_slow"
    assert refused(content * 2, TEXT, ReadingLimits(cpu_s=1, wall_s=60.0)) == "too_slow"


def test_a_storage_that_fails_half_way_is_no_fault_of_the_file() -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"half of a text"
        raise StorageUnavailable("gone", outage="away")

    with pytest.raises(StorageUnavailable):
        asyncio.run(read_file(broken(), TEXT, size=512, overlap=64, markers=MARKERS, limits=SMALL))


def test_the_process_has_no_secret_and_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    begin = asyncio.create_subprocess_exec

    async def spy(*command: Any, **given: Any) -> asyncio.subprocess.Process:
        seen.update(given["env"])
        process = await begin(*command, **given)
        seen["process"] = process
        return process

    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", spy)
    read(b"Text.", TEXT)
    assert not any("secret" in str(value) for value in seen.values())
    assert (seen["BULKHEAD_HOME"], seen["PROCESS_INCARNATION"]) == ("/nowhere", "test.1")
    assert seen["process"].returncode is not None


@pytest.mark.parametrize(
    ("head", "name", "found"),
    [
        (b"%PDF-1.7", "a.txt", PDF),
        (b"\n\n%PDF-1.7", "a.pdf", PDF),
        (b"PK\x03\x04....[Content_Types].xml", "a.pdf", DOCX),
        (b"PK\x03\x04....photo.jpg", "a.docx", None),
        (b"\x89PNG\r\n\x1a\n\0", "a.txt", None),
        (b"# Title", "a.MD", MARKDOWN),
        (b"Title", "a.docx", TEXT),
        ("Ä".encode()[:1], "a.txt", TEXT),
        (b"caf\xe9 au", "a.txt", None),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.doc", None),
    ],
)
def test_content_decides_the_type(head: bytes, name: str, found: str | None) -> None:
    assert document_type(head, name) == found


def test_a_reader_whose_owner_is_gone_already_reads_nothing() -> None:
    """The kernel's signal is asked for by the reader itself: an owner that ended before sends none."""
    no_process = "999999999"
    command = [sys.executable, "-m", "index.reader", no_process, "text/plain", "512", "64", "10", "512"]
    ended = subprocess.run(command, input=b"some text", capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (75, b"")
