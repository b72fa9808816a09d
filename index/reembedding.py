"""Notices that a company has another embedding model by now, and lets its documents be indexed anew, beside what is
searched.
"""

from __future__ import annotations

from typing import Final

from index import rows
from shared.clock import utc_now
from shared.logs import logger
from shared.rag.embedding import EmbedderSource
from shared.store.store import Store
from shared.tenancy.company_settings import CompanySettings

log = logger(__name__)

_COMPANIES: Final = 20
"""Companies of one look; the next one goes on behind the last."""
_DOCUMENTS: Final = 100
"""Documents of one look."""


class Reembedding:
    """Looks at some companies at a time."""

    def __init__(self, store: Store, embedders: EmbedderSource) -> None:
        self._store, self._embedders, self._since, self._after = store, embedders, utc_now(), ""

    async def look(self) -> None:
        """Look at the next companies. Raises `StoreUnavailable`; the next call goes on."""
        companies = await self._store.call(rows.embedded_companies, after=self._after, most=_COMPANIES)
        self._after = companies[-1]["company_id"] if len(companies) == _COMPANIES else ""
        models = {}
        for row in companies:
            company_id, settings = row["company_id"], CompanySettings.read(row["settings"])
            embedder, _ = await self._embedders.of(company_id, settings, "documents")
            # without a model there is nothing better than what is there
            if embedder is not None:
                models[company_id] = (embedder.model, embedder.dimensions)
        if not models:
            return
        begun = await self._store.call(rows.reindex_others, models, since=self._since, most=_DOCUMENTS)
        if begun:
            log.info("documents_reembedded", documents=begun)
