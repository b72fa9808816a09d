"""Small files of each kind, made here: whole as far as their first bytes show."""

from __future__ import annotations

import struct
import zlib
from typing import Final


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(salt: bytes = b"") -> bytes:
    """Return a picture of one dot; `salt` makes it another file."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + _chunk(b"tEXt", b"salt\0" + salt)
        + _chunk(b"IDAT", zlib.compress(b"\0\xff\x80\0"))
        + _chunk(b"IEND", b"")
    )


def mp4(brand: bytes = b"isom", length: int = 600) -> bytes:
    """Return the beginning of a film, filled up to `length`."""
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\2\0" + brand + b"mp41" + b"\0" * (length - 24)


def webp(*, animated: bool = False, length: int = 200) -> bytes:
    """Return a sticker."""
    body = b"WEBPVP8X" + b"\n\0\0\0" + (b"\2" if animated else b"\0") + b"\0" * 9 + (b"ANIM" if animated else b"VP8 ")
    body += b"\0" * (length - len(body) - 8)
    return b"RIFF" + struct.pack("<I", len(body)) + body


JPEG: Final = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + b"\0" * 100 + b"\xff\xd9"
PNG: Final = png()
WEBP: Final = webp()
MP4: Final = mp4()
OGG: Final = b"OggS\0\2" + b"\0" * 22 + b"OpusHead" + b"\1\1" + b"\0" * 100
MP3: Final = b"ID3\4\0\0\0\0\0\0" + b"\0" * 100
PDF: Final = b"%PDF-1.4\n%\xe2\xe3\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
TEXT: Final = "Öffnungszeiten: 9 bis 17 Uhr\n".encode()
