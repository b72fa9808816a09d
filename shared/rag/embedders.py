"""Finds the embedder of a company, by kinds `index` and `ai` alike: a question is compared with passages only if the
same model made both vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from shared.errors import Refused
from shared.llm.prices import read_prices
from shared.llm.questions import ModelTarget
from shared.logs import logger
from shared.media.reach import reach_of
from shared.process.service import Child
from shared.rag.embedding import (
    KNOWN_MODELS,
    LOCAL_MODEL,
    OTHER_SCALE,
    Embedder,
    EmbeddingModel,
    EmbeddingUse,
    FoundEmbedder,
)
from shared.secrets import SecretUnreadable
from shared.tenancy.company_settings import EMBEDDING_KEY_SECRET, CompanySettings
from shared.tenancy.tenant_secrets import SecretService

if TYPE_CHECKING:
    from shared.rag.remote import RemoteEmbeddings

log = logger(__name__)

MISSING: Final = "embedder_missing"
_PACKAGES: Final = "pip install '.[embeddings]'"
_CLIENT: Final = "pip install '.[ai]'"
_SANDBOX_PATH: Final = "/openai/v1"


def local_embedder() -> FoundEmbedder:
    """Return the embedder whose weights a wheel carries; it is loaded with the first text."""
    # imported on use: the packages are an extra
    try:
        from shared.rag.local import LocalEmbedder  # noqa: PLC0415

        return FoundEmbedder(LocalEmbedder.open())
    except ModuleNotFoundError as error:
        return FoundEmbedder(None, f"the package {error.name} is not installed ({_PACKAGES}); only words are searched")


class Embedders:
    """The embedders of one process (`shared.rag.embedding.EmbedderSource`).

    Without any, documents are indexed and searched by their words alone, and the process reports `embedder_missing`.

    Args:
        secrets: of companies; opened for those that have a model of their own.
    """

    def __init__(self, child: Child, secrets: SecretService) -> None:
        settings = child.settings
        self._child, self._secrets = child, secrets
        self._model, self._dimensions = str(settings.own("EMBEDDING_MODEL")), int(settings.own("EMBEDDING_DIMENSIONS"))
        self._key = str(settings.own("OPENAI_API_KEY"))
        self._base_url = str(settings.own("OPENAI_BASE_URL")).rstrip("/")
        if not self._base_url and self._key:
            self._base_url = "https://api.openai.com/v1"
        if not self._base_url and settings.sandbox_url:
            self._base_url = settings.sandbox_url.rstrip("/") + _SANDBOX_PATH
        self._prices = read_prices(str(settings.own("LLM_PRICES")))
        self._local: FoundEmbedder | None = None
        self._remote: RemoteEmbeddings | None = None
        self.name = self._model or LOCAL_MODEL.name
        """Model of the installation."""
        self.missing = self._why_missing()
        """Why the installation has no embedder; empty: it has one."""
        if self.missing:
            log.warning("embedder_missing", reason=self.missing)
            child.heartbeat.report(MISSING, reason=self.missing)

    async def of(self, company_id: str, settings: CompanySettings, use: EmbeddingUse) -> FoundEmbedder:
        """See `EmbedderSource`."""
        rag = settings.rag
        name, dimensions = rag["embeddingModel"], rag["embeddingDimensions"]
        own_url = rag["embeddingBaseUrl"].rstrip("/")
        if not name:
            name, dimensions = self._model, self._dimensions
        if name in ("", LOCAL_MODEL.name) and not own_url:
            return self._own()
        model = model_named(name, dimensions)
        if model is None:
            return FoundEmbedder(
                None, f"the length of the vectors of {name} is not known: set it; only words are searched"
            )
        own_key = await self._own_key(company_id)
        if own_url:
            # the installation's key goes to the installation's address only
            target = ModelTarget(model=name, base_url=own_url, key=own_key, is_ours=False)
        elif self._base_url:
            target = ModelTarget(model=name, base_url=self._base_url, key=own_key or self._key, is_ours=True)
        else:
            return FoundEmbedder(None, "OPENAI_BASE_URL and OPENAI_API_KEY are not set; only words are searched")
        return self._at(
            lambda remote: remote.of(company_id, settings, model, target, use, is_own=bool(own_key or own_url))
        )

    async def close(self) -> None:
        """Close connections."""
        if self._remote is not None:
            await self._remote.close()

    def _own(self) -> FoundEmbedder:
        if self._local is None:
            self._local = local_embedder()
        return self._local

    def _why_missing(self) -> str:
        if self._model in ("", LOCAL_MODEL.name):
            return self._own().why
        if model_named(self._model, self._dimensions) is None:
            return f"EMBEDDING_DIMENSIONS is not set, and {self._model} is no model whose length is known"
        if not self._base_url:
            return "EMBEDDING_MODEL is set, and neither OPENAI_BASE_URL nor OPENAI_API_KEY is"
        return self._at(lambda _: None).why

    def _at(self, make: Callable[[Any], Embedder | None]) -> FoundEmbedder:
        if self._remote is None:
            # the client's package is an extra; processes that embed by themselves never load it
            try:
                from shared.rag.remote import RemoteEmbeddings  # noqa: PLC0415
            except ModuleNotFoundError as error:
                why = f"the package {error.name} is not installed ({_CLIENT}); only words are searched"
                return FoundEmbedder(None, why)
            self._remote = RemoteEmbeddings(self._child, self._prices, reach_of(self._child.settings))
        return FoundEmbedder(make(self._remote))

    async def _own_key(self, company_id: str) -> str:
        async def read(value: bytearray) -> str:
            return value.decode()

        try:
            return await self._secrets.with_tenant_secret(company_id, EMBEDDING_KEY_SECRET, read)
        # most companies have none
        except Refused:
            return ""
        except SecretUnreadable as error:
            # the provider will refuse the call, which the document then shows
            log.error("embedding_key_unreadable", company_id=company_id, reason=str(error))
            return ""


def model_named(name: str, dimensions: int) -> EmbeddingModel | None:
    """Return a model by its name; `dimensions`: as it is set, 0: not. None: its length is neither known nor set."""
    known = KNOWN_MODELS.get(name)
    if not dimensions:
        return known
    if known is None:
        return EmbeddingModel(name=name, dimensions=dimensions, scale=OTHER_SCALE)
    # Of an unknown model the length is its own, and servers refuse the parameter; of a known one it is a wish.
    return replace(known, dimensions=dimensions, is_cut=dimensions != known.dimensions)
