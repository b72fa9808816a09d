"""Opens the embedder that the settings name, by kinds `index` and `ai` alike: a question is compared with passages only
if the same model made both vectors.
"""

from __future__ import annotations

from typing import Final

from shared.rag.embedding import Embedder
from shared.settings import Settings

_PACKAGES: Final = "pip install '.[embeddings]'"


def open_embedder(settings: Settings) -> tuple[Embedder | None, str]:
    """Return the embedder, and why there is none. It is loaded with the first text.

    Without one, documents are indexed and searched by their words alone.
    """
    # imported on use: the packages are an extra
    try:
        from shared.rag.local import LocalEmbedder  # noqa: PLC0415

        return LocalEmbedder.open(), ""
    except ModuleNotFoundError as error:
        return None, f"the package {error.name} is not installed ({_PACKAGES}); only words are searched"
