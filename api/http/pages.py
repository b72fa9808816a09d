"""Pages for people: files of `api/operators/dashboard`, served with a policy that lets a page load nothing but what we
serve.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.http.operations import Operation

_FILES: Final = Path(__file__).parents[1] / "operators" / "dashboard"
# `blob:` for the codes that the page draws, `data:` for the empty icon; no frame, so that no other page can lay
# itself over the buttons; no-cache, so that after an update an old script never reads new data
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}


def html(text: str) -> Response:
    """Return a page."""
    return Response(text, media_type="text/html", headers=_HEADERS)


def file_operation(operation_id: str, path: str, name: str, media_type: str, summary: str) -> Operation:
    """Return the operation that serves one file, read once."""
    # at the start: an incomplete installation shows at once and not at the first visit
    content = (_FILES / name).read_bytes()

    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return Operation(
        operation_id=operation_id,
        method="GET",
        path=path,
        group="Pages",
        summary=summary,
        handler=serve,
        scope="public",
        answers={200: ("The file.", media_type.partition(";")[0])},
    )
