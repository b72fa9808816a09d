"""The service of kind `index`: takes documents and questions, keeps its leases, and tidies up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from index import rows
from index.answering import Answering
from index.indexing import Indexer
from index.reading import ReadingLimits
from index.reembedding import Reembedding
from index.rows import LeasedDocument
from index.tidying import Tidying
from shared.clock import left
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.media.storage import open_storage
from shared.process.leased_work import Intervals, LeasedRows, LeasedWork
from shared.process.periodic import repeat
from shared.process.service import Child, Service, Severity
from shared.rag.embedders import Embedders
from shared.rag.vectors import PostgresVectors
from shared.secrets import Vault
from shared.store.pool import Row
from shared.tenancy.tenant_secrets import SecretService

log = logger(__name__)

LEASE_S: Final = 60.0
"""Seconds after which another process indexes what this one has not renewed; a death on this host is proved sooner."""
_RENEW_S: Final = 5.0
_TIDY_S: Final = 2.0
"""Seconds between two rounds of removing: what was removed is not found any more, and waits for nothing."""
_MODELS_S: Final = 10.0
"""Seconds between two looks whether companies have other models by now."""
_AT_ONCE: Final = 2
"""Documents in hand: of two companies at least, so that none waits for all of another one's."""
_QUESTIONS: Final = 8
"""Questions in hand: they wait for PostgreSQL most of the time."""
_QUESTION_LOOKS: Final = Intervals(busy_s=0.02, idle_s=0.1)
"""A client waits for the answer."""
_OLD_QUESTION_S: Final = 60.0


class IndexService:
    """See `shared.process.service.Service`."""

    app: Any = None

    def __init__(self, child: Child) -> None:
        self._child, self._store = child, child.store
        self._incarnation = child.identity.process_incarnation
        self._storage = open_storage(child.settings)
        self._vectors = PostgresVectors(child.store)
        self._embedders = Embedders(child, SecretService(child.store, Vault.from_settings(child.settings)))
        self._indexer = Indexer(
            child.store,
            self._storage,
            self._vectors,
            self._embedders,
            child.metrics,
            incarnation=self._incarnation,
            markers={
                "BULKHEAD_HOME": str(child.settings.bulkhead_home),
                "PROCESS_INCARNATION": self._incarnation,
            },
            limits=ReadingLimits(
                cpu_s=int(child.settings.own("INDEX_CPU_S")),
                wall_s=5.0 * float(child.settings.own("INDEX_CPU_S")),
                memory_mb=int(child.settings.own("INDEX_MEMORY_MB")),
            ),
        )
        self._answering = Answering(
            child.store, self._vectors, self._embedders, child.metrics, incarnation=self._incarnation
        )
        self._reembedding = Reembedding(child.store, self._embedders)
        self._tidying = Tidying(child.store, self._storage, self._vectors)
        self._waiting = child.metrics.gauge("documents_waiting", "Documents that are not indexed yet.")
        self._oldest = child.metrics.gauge(
            "documents_oldest_seconds", "For how long the oldest of them has been waiting."
        )
        self._in_hand: set[int] = set()
        self._documents: LeasedWork[LeasedDocument] = LeasedWork(
            child,
            "documents",
            LeasedRows(release=self._release, take=self._take, key=lambda row: row.id, work=self._index),
            capacity=_AT_ONCE,
            intervals=Intervals(busy_s=0.2, idle_s=0.5),
            beat_limit_s=30.0,
        )
        self._questions: LeasedWork[Row] = LeasedWork(
            child,
            "questions",
            LeasedRows(
                release=self._release, take=self._answering.take, key=lambda row: row["id"], work=self._answering.answer
            ),
            capacity=_QUESTIONS,
            intervals=_QUESTION_LOOKS,
            beat_limit_s=30.0,
        )

    async def start(self) -> None:
        """Begin to take documents and questions."""
        self._documents.start()
        self._questions.start()
        self._child.spawn(repeat("document-leases", self._renew, _RENEW_S), "document-leases")
        self._child.spawn(repeat("document-tidying", self._tidy, _TIDY_S), "document-tidying")
        self._child.spawn(repeat("document-models", self._reembedding.look, _MODELS_S), "document-models")

    async def drain(self, by: float) -> bool:
        """Finish what is in hand; a document that takes longer is indexed by the next process from its beginning."""
        answered = await self._questions.drain(by)
        indexed = await self._documents.drain(by)
        if left(by):
            try:
                await self._store.call(rows.release, incarnation=self._incarnation)
            # the leases end by themselves
            except StoreUnavailable as error:
                log.warning("documents_not_released", reason=str(error))
        return answered and indexed

    async def close(self) -> None:
        """Cut what is still under way."""
        await self._questions.close()
        await self._documents.close()
        await self._storage.close()
        await self._embedders.close()

    def readiness(self) -> Mapping[str, str]:
        """Nothing beyond the database, which every child watches."""
        return {}

    def health(self) -> Mapping[str, Any]:
        """Return how many documents are in hand, and by what they are embedded."""
        return {
            "documentsInHand": len(self._in_hand),
            "embedder": None if self._embedders.missing else self._embedders.name,
            "searches": ["keyword"] if self._embedders.missing else ["keyword", "vector"],
            **({"why": self._embedders.missing} if self._embedders.missing else {}),
        }

    def classify(self, error: BaseException) -> Severity:
        """A database that is away is survived; anything else is a bug."""
        return Severity.RECOVERABLE if isinstance(error, StoreUnavailable) else Severity.CRITICAL

    async def _release(self) -> None:
        # what an earlier life of the slot had in hand is given back by the recorder (`reclaims`), or by the end of its
        # lease
        return None

    async def _take(self, most: int) -> Sequence[LeasedDocument]:
        await self._store.call(rows.fail_spent)
        backlog = await self._store.call(rows.backlog)
        self._waiting.set(backlog["waiting"])
        self._oldest.set(backlog["oldest_s"])
        if not most:
            return ()
        leased = await self._store.call(
            rows.lease, incarnation=self._incarnation, in_hand=[*self._in_hand], most=most, lease_s=LEASE_S
        )
        if leased:
            hit("index.leased")
        return leased

    async def _index(self, document: LeasedDocument) -> None:
        self._in_hand.add(document.id)
        try:
            await self._indexer.index(document)
        finally:
            self._in_hand.discard(document.id)

    async def _renew(self) -> None:
        if self._in_hand:
            # one that is lost meets the fence at its next write
            await self._store.call(rows.renew, incarnation=self._incarnation, ids=[*self._in_hand], lease_s=LEASE_S)

    async def _tidy(self) -> None:
        await self._store.call(rows.forget_questions, older_s=_OLD_QUESTION_S)
        await self._tidying.tidy()


async def open_service(child: Child) -> Service:
    """Return the service of this process. Raises `SettingsInvalid` when its settings contradict each other."""
    return IndexService(child)
