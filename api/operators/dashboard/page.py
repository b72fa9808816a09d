"""The control room's files: a page of ES modules without a build step, which talks to the API like any other client."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.http.operations import Operation
from api.http.pages import HEADERS
from api.http.problems import Problem

_FOLDER: Final = Path(__file__).parent
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_INDEX: Final = "index.html"


@dataclass(frozen=True, kw_only=True)
class _File:
    content: bytes
    media_type: str
    tag: str


class Dashboard:
    """Serves the files, read once: an incomplete installation shows at the start and not at the first visit."""

    def __init__(self) -> None:
        self._files = {
            path.name: _File(
                content=(content := path.read_bytes()),
                media_type=_TYPES[path.suffix],
                tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            )
            for path in sorted(_FOLDER.iterdir())
            if path.suffix in _TYPES
        }

    def operations(self) -> list[Operation]:
        """Return the operations that serve them."""
        return [
            Operation(
                operation_id="getDashboard",
                method="GET",
                path="/dashboard",
                group="Pages",
                summary="The control room: the operators' page",
                handler=self.show,
                scope="public",
                answers={200: ("The page.", "text/html")},
            ),
            Operation(
                operation_id="getDashboardFile",
                method="GET",
                path="/dashboard/{file}",
                group="Pages",
                summary="Scripts and styles of the pages",
                handler=self.show_file,
                scope="public",
                answers={200: ("The file.", "text/javascript", "text/css")},
                problems=("path_unknown",),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with the page."""
        return self._answer(request, self._files[_INDEX])

    async def show_file(self, request: Request) -> Response:
        """Answer with one file."""
        found = self._files.get(request.path_params["file"])
        if found is None:
            raise Problem("path_unknown", "There is nothing at this path.")
        return self._answer(request, found)

    def _answer(self, request: Request, file: _File) -> Response:
        # asked each time, so that after an update no old script reads new data; sent only when it changed
        headers = {**HEADERS, "ETag": file.tag}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)
