"""Which files each channel accepts."""

from __future__ import annotations

import pytest

from sandbox.media import _DOCUMENT_TYPES, KINDS
from shared.channels.files import LARGEST, MediaRefused, check
from shared.channels.registry import UnknownConnectionType, channel_named
from shared.media.kinds import UNKNOWN

KB = 1024
MB = 1024 * 1024


@pytest.mark.parametrize(
    ("connection_type", "type_name", "mimetype", "size", "word"),
    [
        ("meta_direct", "image", "image/jpeg", 5 * MB, ""),
        ("meta_direct", "image", "image/jpeg", 5 * MB + 1, "5242880"),
        ("meta_direct", "image", "image/webp", 1, "image/jpeg, image/png"),
        ("360dialog", "document", "application/pdf", 100 * MB, ""),
        ("360dialog", "document", "application/zip", 1, "it accepts application/pdf"),
        ("meta_direct", "document", "image/png", 5 * MB + 1, "5242880"),
        ("360dialog", "document", UNKNOWN, 1, "it accepts application/pdf"),
        ("meta_embedded", "audio", "audio/ogg", 0, "empty"),
        ("wwebjs", "audio", "audio/x-flac", 1, ""),
        ("wwebjs", "audio", "video/mp4", 1, "audio/*"),
        ("instagram", "document", "application/pdf", 1, "sends no document"),
    ],
)
def test_limits(connection_type: str, type_name: str, mimetype: str, size: int, word: str) -> None:
    if not word:
        check(connection_type, type_name, mimetype, size)
        return
    with pytest.raises(MediaRefused, match=word.replace("*", r"\*")):
        check(connection_type, type_name, mimetype, size)


@pytest.mark.parametrize("type_", ["sticker", "document"])
@pytest.mark.parametrize(("is_animated", "most"), [(False, 100 * KB), (True, 500 * KB), (None, 500 * KB)])
def test_a_webp_picture_that_does_not_move_has_a_lower_limit(type_: str, is_animated: bool | None, most: int) -> None:
    check("meta_direct", type_, "image/webp", most, is_animated=is_animated)
    with pytest.raises(MediaRefused, match=str(most)):
        check("meta_direct", type_, "image/webp", most + 1, is_animated=is_animated)


def test_the_largest_file() -> None:
    assert LARGEST == 100 * MB


def test_an_unlisted_connection_type_is_an_error() -> None:
    with pytest.raises(UnknownConnectionType, match="'telegram'; known: wwebjs"):
        check("telegram", "image", "image/png", 1)


def test_a_csv_file_is_given_to_meta_as_plain_text() -> None:
    assert check("meta_direct", "document", "text/csv", 1) == "text/plain"
    assert check("wwebjs", "document", "text/csv", 1) == "text/csv"
    assert check("meta_direct", "document", "application/pdf", 1) == "application/pdf"


@pytest.mark.parametrize("type_", channel_named("meta_direct").files)
def test_meta_takes_whatever_is_accepted_for_it(type_: str) -> None:
    limit = channel_named("meta_direct").files[type_]
    for mimetype in limit.mimetypes:
        uploaded = limit.provider_type(mimetype.replace("text/", "text/html"))
        assert uploaded in KINDS or uploaded in _DOCUMENT_TYPES
        assert limit.most(mimetype, is_animated=None) == KINDS.get(uploaded, (100 * MB,))[0]
