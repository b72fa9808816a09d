"""Documents in a real database and a real storage, indexed by the code of kind `index` in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from index import rows
from index.indexing import Indexer
from index.reading import ReadingLimits
from index.rows import LeasedDocument
from index.tidying import Tidying
from shared.document_types import document_type
from shared.media.files import Storage
from shared.media.local import LocalStorage
from shared.process.metrics import Metrics
from shared.rag.vectors import PostgresVectors
from shared.store import documents
from tests.rag.env import OneEmbedder, RagEnv
from tests.store.env import StoreEnv
from tests.support.database import query

INCARNATION = "index-0.test"


class IndexEnv(RagEnv):
    """What a document goes through, step by step."""

    def __init__(self, store: StoreEnv, media: Path) -> None:
        super().__init__(store, PostgresVectors(store.store))
        self.media = media
        self.storage: Storage = LocalStorage(media)

    def upload(self, content: bytes, name: str = "terms.pdf", company: str = "acme") -> int:
        """Store a document as the API does. Returns its id."""

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        stored = asyncio.run(self.storage.put(company, pieces(), most=1 << 30))
        mimetype = document_type(stored.head, name)
        assert mimetype is not None
        added = self.store.store.as_company(company).run(
            documents.add, company, sha256=stored.sha256, title=name, mimetype=mimetype, size=stored.size
        )
        assert added is not None
        return added[0]

    def indexer(self, **given: Any) -> Indexer:
        """Return an indexer; `embedder`, `vectors`, `storage`, `limits` in place of the usual ones."""
        return Indexer(
            self.store.store,
            given.get("storage", self.storage),
            given.get("vectors", self.vectors),
            OneEmbedder(given.get("embedder", self.embedder)),
            Metrics(),
            incarnation=INCARNATION,
            markers={},
            limits=given.get("limits", ReadingLimits(cpu_s=10, wall_s=60.0, memory_mb=400)),
        )

    def lease(self, most: int = 10) -> list[LeasedDocument]:
        """Take what is due."""
        self.store.store.run(rows.fail_spent)
        return self.store.store.run(rows.lease, incarnation=INCARNATION, in_hand=[], most=most, lease_s=60.0)

    def index(self, **given: Any) -> None:
        """Index everything that is due, one after the other."""
        for document in self.lease():
            asyncio.run(self.indexer(**given).index(document))

    def tidy(self, storage: Storage | None = None) -> None:
        """Remove what is to be removed."""
        asyncio.run(Tidying(self.store.store, storage or self.storage, self.vectors).tidy())

    def document(self, document_id: int) -> dict[str, Any]:
        """Return a document's row."""
        (row,) = query(self.store.url, "SELECT * FROM documents WHERE id = %(id)s", id=document_id)
        return dict(row)

    def events(self, document_id: int) -> list[str]:
        """Return the types of a document's events, in order."""
        found = query(
            self.store.url,
            "SELECT type FROM events WHERE subject = 'document' AND data @> jsonb_build_object('documentId', %(id)s) "
            "ORDER BY id",
            id=document_id,
        )
        return [row["type"] for row in found]

    def due(self) -> None:
        """Let everything that waits for its next try be due, as time does."""
        query(self.store.url, "UPDATE documents SET due_at = now() WHERE state = 'uploaded'")

    def end_lives(self) -> None:
        """Give back what is in hand, as the recorder does for a dead incarnation."""
        self.store.store.run(rows.release, incarnation=INCARNATION)


Made = Callable[..., IndexEnv]
