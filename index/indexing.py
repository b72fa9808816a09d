"""Indexes one document: reads it, cuts it, embeds its passages beside what is searched, and switches in one
transaction. A death at any point repeats the document, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from index import rows
from index.chunks import Chunk
from index.reading import ReadFile, ReadingLimits, read_file
from index.reasons import IndexingFailed
from index.rows import FinishedIndex, LeasedDocument
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.files import Storage
from shared.process.metrics import Metrics
from shared.process.periodic import until_available
from shared.rag.embedding import DimensionsDiffer, Embedder, EmbedderSource, EmbeddingFailed, normalised
from shared.rag.vectors import DocumentVectors, VectorStore
from shared.store.store import Store
from shared.tenancy.company_settings import CompanySettings, read_company

log = logger(__name__)

_BATCH: Final = 64
"""Passages that are embedded and written at once."""
_CLEARED: Final = 1000
"""Passages that are removed at once."""
_AFTER_S: Final = (10.0, 60.0, 60.0)
"""Seconds until the next try, by how many there were."""
_AWAY_S: Final = 30.0
"""Seconds until a document is tried again that could not be read or embedded for no fault of its own."""
_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class _Fenced(Exception):
    """Raised when the document is another incarnation's by now, or was removed."""


class Indexer:
    """Indexes documents.

    Args:
        embedders: find a company's; without one its passages are found by their words alone. markers: see
            `index.reading.read_file`.
    """

    def __init__(
        self,
        store: Store,
        storage: Storage,
        vectors: VectorStore,
        embedders: EmbedderSource,
        metrics: Metrics,
        *,
        incarnation: str,
        markers: Mapping[str, str],
        limits: ReadingLimits,
    ) -> None:
        self._store, self._storage, self._vectors, self._embedders = store, storage, vectors, embedders
        self._incarnation, self._markers, self._limits = incarnation, markers, limits
        self._ended = metrics.counter("documents_indexed", "Tries to index a document, by outcome.", ("outcome",))
        self._seconds = metrics.histogram("document_indexing_seconds", "Time to index a document.", buckets=_SECONDS)

    async def index(self, document: LeasedDocument) -> None:
        """Index one document and write how it ended."""
        began = monotonic()
        outcome = await self._outcome(document)
        self._ended.labels(outcome).inc()
        self._seconds.observe(monotonic() - began)
        log.info(
            "document_tried",
            document_id=document.id,
            company_id=document.company_id,
            outcome=outcome,
            attempt=document.attempts,
            duration_ms=round((monotonic() - began) * 1000),
        )

    async def _outcome(self, document: LeasedDocument) -> str:
        try:
            return await self._indexed(document)
        except _Fenced:
            return "fenced"
        except IndexingFailed as error:
            failure = error
        except MediaUnknown:
            failure = IndexingFailed("original_missing")
        except DimensionsDiffer as error:
            failure = IndexingFailed("dimensions_differ", error=str(error))
        except EmbeddingFailed as error:
            return await self._delayed(document, IndexingFailed("model_away", error=str(error)))
        except StorageUnavailable as error:
            return await self._delayed(document, IndexingFailed("storage_away", error=str(error)))
        except StoreUnavailable as error:
            return await self._delayed(document, IndexingFailed("database_away", error=str(error)))
        # a fault of the program concerns one document: it is listed, and the others go on
        except Exception as error:
            log.error("document_crashed", exc_info=error, document_id=document.id)
            failure = IndexingFailed("internal", error=type(error).__name__)
        return await self._failed(document, failure)

    async def _delayed(self, document: LeasedDocument, failure: IndexingFailed) -> str:
        """Give a document back that could not be blamed: the try does not count, and its reason is shown meanwhile."""
        log.warning("document_delayed", document_id=document.id, reason=failure.text)
        await until_available(
            "document_return",
            lambda: self._store.call(
                rows.give_back, document.id, failure, incarnation=self._incarnation, after_s=_AWAY_S
            ),
        )
        return "delayed"

    async def _failed(self, document: LeasedDocument, failure: IndexingFailed) -> str:
        after_s = _AFTER_S[min(document.attempts, len(_AFTER_S)) - 1]
        state = await until_available(
            "document_failure",
            lambda: self._store.call(rows.fail, document, failure, incarnation=self._incarnation, after_s=after_s),
        )
        return "fenced" if state is None else "failed" if state == "failed" else "retried"

    async def _indexed(self, document: LeasedDocument) -> str:
        company = await self._store.call(read_company, document.company_id)
        if company is None:
            raise _Fenced
        settings = company.settings
        found = await read_file(
            self._storage.stream(document.company_id, document.sha256),
            document.mimetype,
            size=settings.rag["chunkSize"],
            overlap=settings.rag["chunkOverlap"],
            markers=self._markers,
            limits=self._limits,
        )
        hit("index.read")
        while await self._store.call(rows.clear, document.id, generation=document.generation + 1, most=_CLEARED):
            pass
        embedder, _ = await self._embedders.of(document.company_id, settings, "documents")
        if embedder is not None:
            await self._vectors.prepare(embedder.dimensions)
        for first in range(0, len(found.chunks), _BATCH):
            await self._write(document, found.chunks[first : first + _BATCH], first, settings, embedder)
        done = _finished(found, embedder)
        if not await self._store.call(rows.finish, document, done, incarnation=self._incarnation):
            raise _Fenced
        hit("index.switched")
        await self._vectors.forget(document.company_id, document.id, but=document.generation + 1)
        return done.state

    async def _write(
        self,
        document: LeasedDocument,
        chunks: Sequence[Chunk],
        first: int,
        settings: CompanySettings,
        embedder: Embedder | None,
    ) -> None:
        vectors = None if embedder is None else await embedder.embed([chunk.text for chunk in chunks])
        ids = await self._store.call(
            rows.write_chunks,
            document,
            chunks,
            incarnation=self._incarnation,
            first=first,
            locale=settings.locales[0],
        )
        if ids is None:
            raise _Fenced
        hit("index.written")
        if embedder is None or vectors is None:
            return
        if len(vectors) != len(chunks):
            raise DimensionsDiffer(f"{len(vectors)} vectors for {len(chunks)} texts")
        await self._vectors.add(
            DocumentVectors(
                company_id=document.company_id,
                document_id=document.id,
                generation=document.generation + 1,
                model=embedder.model,
                dimensions=embedder.dimensions,
                vectors={
                    one: normalised(vector, embedder.dimensions) for one, vector in zip(ids, vectors, strict=True)
                },
            )
        )
        # a document of ten thousand passages leaves the loop to searches between two batches
        await asyncio.sleep(0)


def _finished(found: ReadFile, embedder: Embedder | None) -> FinishedIndex:
    if not found.chunks:
        return FinishedIndex(
            state="no_text",
            chunks=0,
            pages=found.pages,
            model=None,
            dimensions=None,
            code="no_text",
            reason="The file has no text, only pictures perhaps. Recognise its text (OCR) and upload the result.",
        )
    return FinishedIndex(
        state="indexed",
        chunks=len(found.chunks),
        pages=found.pages,
        model=None if embedder is None else embedder.model,
        dimensions=None if embedder is None else embedder.dimensions,
        code="pages_unreadable" if found.unreadable else "",
        reason=f"{found.unreadable} of {found.pages} pages could not be read; the others are indexed."
        if found.unreadable
        else "",
    )
