"""Which files each channel accepts."""

from __future__ import annotations

import pytest

from shared.channels.files import LARGEST, MediaRefused, check
from shared.channels.registry import UnknownConnectionType
from shared.media.kinds import UNKNOWN

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("connection_type", "type_name", "mimetype", "size", "word"),
    [
        ("meta_direct", "image", "image/jpeg", 5 * MB, ""),
        ("meta_direct", "image", "image/jpeg", 5 * MB + 1, "5242880"),
        ("meta_direct", "image", "image/webp", 1, "image/jpeg, image/png"),
        ("360dialog", "document", "application/zip", 100 * MB, ""),
        ("360dialog", "document", UNKNOWN, 1, "type can be determined"),
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


def test_the_largest_file() -> None:
    assert LARGEST == 100 * MB


def test_an_unlisted_connection_type_is_an_error() -> None:
    with pytest.raises(UnknownConnectionType, match="'telegram'; known: wwebjs"):
        check("telegram", "image", "image/png", 1)
