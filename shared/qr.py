"""Codes to scan, as pictures and as text: the only door to segno."""

from __future__ import annotations

import io

import segno


def svg(text: str) -> bytes:
    """Return `text` as a QR code in SVG."""
    return _written(text, "svg", scale=6)


def png(text: str) -> bytes:
    """Return `text` as a QR code in PNG."""
    return _written(text, "png", scale=6)


def terminal(text: str) -> str:
    """Return `text` as a QR code of half blocks, to be printed on a terminal."""
    out = io.StringIO()
    # the lowest level of error correction gives the fewest modules: on a screen nothing is dirty or torn; not every
    # phone reads micro codes
    segno.make(text, error="l", micro=False).terminal(out, compact=True)
    return out.getvalue()


def _written(text: str, kind: str, scale: int) -> bytes:
    out = io.BytesIO()
    # border 4: the quiet zone that ISO 18004 asks for
    segno.make(text, error="l", micro=False).save(out, kind=kind, scale=scale, border=4)
    return out.getvalue()
