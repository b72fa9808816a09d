"""What a file is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.media.kinds import UNKNOWN, is_animated, mimetype_of, plain
from tests.support import samples

DOCX = b"PK\3\4" + b"\0" * 26 + b"anything"


@pytest.mark.parametrize(
    ("head", "declared", "filename", "expected"),
    [
        pytest.param(samples.PNG, "", "", "image/png", id="by its bytes"),
        pytest.param(samples.JPEG, "image/png", "a.gif", "image/jpeg", id="its bytes win"),
        pytest.param(samples.WEBP, "", "", "image/webp", id="webp"),
        pytest.param(samples.MP4, "", "", "video/mp4", id="mp4"),
        pytest.param(samples.mp4(b"3gp4"), "", "", "video/3gpp", id="3gp"),
        pytest.param(samples.mp4(b"M4A "), "", "", "audio/mp4", id="m4a"),
        pytest.param(samples.MP4, "audio/mp4", "", "audio/mp4", id="mp4 without pictures, as it is said"),
        pytest.param(samples.OGG, "audio/ogg; codecs=opus", "", "audio/ogg", id="ogg"),
        pytest.param(samples.MP3, "audio/mp3", "", "audio/mpeg", id="mp3"),
        pytest.param(samples.PDF, "text/plain", "", "application/pdf", id="pdf that looks like text"),
        pytest.param(samples.TEXT, "", "", "text/plain", id="text"),
        pytest.param(b"BM is how this text begins", "", "", "text/plain", id="text that begins like a picture"),
        pytest.param(samples.TEXT, "text/csv", "", "text/csv", id="text, as it is said"),
        pytest.param(samples.TEXT, "", "a.csv", "text/csv", id="text, by its name"),
        pytest.param(samples.TEXT, "image/png", "a.png", "text/plain", id="text that is said to be a picture"),
        pytest.param("ä".encode() * 2048 + b"\xc3", "", "", "text/plain", id="text whose head cuts a character"),
        pytest.param(
            DOCX,
            "",
            "a.docx",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            id="packed, by its name",
        ),
        pytest.param(
            DOCX,
            "application/vnd.oasis.opendocument.text",
            "",
            "application/vnd.oasis.opendocument.text",
            id="packed, as it is said",
        ),
        pytest.param(DOCX, "image/png", "", "application/zip", id="packed, and a lie"),
        pytest.param(b"\0\1\2\3", "image/png", "", UNKNOWN, id="a picture only in name"),
        pytest.param(b"\0\1\2\3", "application/x-own", "", "application/x-own", id="unknown, as it is said"),
        pytest.param(b"\0\1\2\3", "no mimetype", "", UNKNOWN, id="nonsense"),
        pytest.param(b"", "", "", UNKNOWN, id="nothing"),
    ],
)
def test_kinds(head: bytes, declared: str, filename: str, expected: str) -> None:
    assert mimetype_of(head, declared, filename) == expected


@given(st.binary(max_size=300), st.text(max_size=30), st.text(max_size=30))
def test_any_bytes_have_a_kind(head: bytes, declared: str, filename: str) -> None:
    found = mimetype_of(head, declared, filename)
    assert plain(found) == found


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(samples.webp(animated=True), True, id="the flag of the extended form"),
        pytest.param(samples.webp(), False, id="extended, without it"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8 " + b"\xff" * 40, False, id="the simple form"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8L" + b"\xff" * 40, False, id="the lossless form"),
        pytest.param(samples.webp(animated=True)[:20], False, id="cut before the flag"),
        pytest.param(b"RIFF\0\0\0\0WAVEfmt ", None, id="another RIFF file"),
        pytest.param(samples.PNG, None, id="another picture"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_whether_a_webp_picture_moves_shows_in_its_first_bytes(head: bytes, expected: bool | None) -> None:
    assert is_animated(head) is expected
