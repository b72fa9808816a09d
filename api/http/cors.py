"""CORS: the origins whose pages may use the API from a browser (Fetch standard)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from shared.errors import SettingsInvalid

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SENT: Final = (
    "Authorization",
    "X-API-Key",
    "Content-Type",
    "Idempotency-Key",
    "Prefer",
    "Range",
    "If-None-Match",
    "X-Request-Id",
    "traceparent",
)
"""Headers that a page may send, besides the always permitted ones."""
_SHOWN: Final = (
    "Location",
    "X-Request-Id",
    "Idempotency-Replayed",
    "Preference-Applied",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "ETag",
    "Content-Range",
)
"""Response headers that a page may read, besides the always permitted ones."""
_REMEMBERED_S: Final = 600
"""Seconds for which a browser keeps the permission; browsers keep it for two hours at most."""


def read_origins(text: str) -> tuple[str, ...]:
    """Return the origins of the setting CORS_ORIGINS. Raises `SettingsInvalid` for what is none."""
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    if wrong := [origin for origin in origins if origin != "*" and not _is_origin(origin)]:
        raise SettingsInvalid(
            [f"CORS_ORIGINS: {origin!r} is no origin; write it as https://app.example.com" for origin in wrong]
        )
    return origins


def allowing(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Return an application that pages of these origins may use; without origins, `app` itself."""
    if not origins:
        return app
    # outermost, so that refusals are readable too; no credentials: a key is sent by the page, never by the browser
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=_SENT,
        expose_headers=_SHOWN,
        max_age=_REMEMBERED_S,
    )


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # read for its error: a port that is no number
        port = parts.port
    except ValueError:
        return False
    is_whole = text == f"{parts.scheme}://{parts.netloc}"
    return is_whole and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
