"""Documents of a company, and searches in them."""

# script/client makes the module sync_… of the same name of this file
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, cast

from bulkhead_client import requests_of
from bulkhead_client.async_core import AsyncCore
from bulkhead_client.models import Document, DocumentSearch
from bulkhead_client.wire import File, place

_LOOK_S: Final = 0.5
"""Seconds between two looks at a document."""
_OPEN: Final = ("uploaded", "indexing")


class AsyncDocuments(AsyncCore):
    """The calls about documents; see `AsyncBulkhead`."""

    async def upload_document(self, file: File, *, company: str | None = None) -> Document:
        """Upload a document (PDF, DOCX, text, Markdown); it is indexed then, which `wait_for_document` waits for. The
        same bytes are one document.
        """
        request = requests_of.uploading_document(self._of(company), file)
        return cast("Document", (await self.exchange(request)).json())

    async def documents(self, *, company: str | None = None) -> AsyncIterator[Document]:
        """Give the documents of a company, newest first."""
        async for entry in self.pages(place("documents", self._of(company)), "documents"):
            yield cast("Document", entry)

    async def document(self, document: str, *, company: str | None = None) -> Document:
        """Return one document; `status` says how far it is, `reason` what went wrong."""
        return cast("Document", await self.get(place("documents", self._of(company), document)))

    async def remove_document(self, document: str, *, company: str | None = None) -> Document:
        """Remove a document with its file, and return it as it was."""
        return cast("Document", await self.call("DELETE", place("documents", self._of(company), document)))

    async def reindex_document(self, document: str, *, company: str | None = None) -> Document:
        """Let a document be indexed anew; until then it is searched as it is."""
        path = place("documents", self._of(company), document, "reindex")
        return cast("Document", await self.call("POST", path))

    async def wait_for_document(self, document: str, within_s: float = 60.0, *, company: str | None = None) -> Document:
        """Return a document when it is indexed, or cannot be, or as it is after `within_s` seconds."""
        by = self._transport.now() + within_s
        while True:
            found = await self.document(document, company=company)
            if found["status"] not in _OPEN or self._transport.now() >= by:
                return found
            await self._transport.sleep(min(_LOOK_S, within_s))

    async def search_documents(
        self, question: str, *, most: int | None = None, company: str | None = None
    ) -> DocumentSearch:
        """Return passages that answer a question, the best first, with their sources. `most`: of them."""
        query = {"q": question} if most is None else {"q": question, "k": most}
        return cast("DocumentSearch", await self.get(place("search", self._of(company)), **query))
