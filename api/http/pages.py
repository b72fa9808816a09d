"""Pages for people: served with a policy that lets a page load nothing but what we serve."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

# `blob:` for the codes that the page draws, `data:` for the empty icon; no frame, so that no other page can lay
# itself over the buttons; no-cache, so that after an update an old script never reads new data; no referrer, since
# addresses of the page name chats
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
}


def html(text: str) -> Response:
    """Return a page."""
    return Response(text, media_type="text/html", headers=HEADERS)
