"""Whose embedding model, where it is asked, and whose key it gets: pure but for a fake of the secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shared.fields import FieldsInvalid
from shared.process.metrics import Metrics
from shared.rag.embedders import Embedders
from shared.settings import load
from shared.tenancy.company_settings import CompanySettings, require_consistent
from shared.tenancy.tenant_secrets import secret_unknown

pytestmark = pytest.mark.fast

OPENAI = "https://api.openai.com/v1"
OWN = "https://embeddings.acme.example/v1"
SMALL = "text-embedding-3-small"


class Secrets:
    def __init__(self, key: str) -> None:
        self._key = key

    async def with_tenant_secret(self, company_id: str, name: str, use: Callable[[bytearray], Awaitable[Any]]) -> Any:
        assert (company_id, name) == ("acme", "embedding_api_key")
        if not self._key:
            raise secret_unknown()
        return await use(bytearray(self._key.encode()))


def found(own_key: str, rag: dict[str, Any], variables: dict[str, str]) -> tuple[Any, str, dict[str, Any]]:
    """Return the embedder of documents, why there is none, and what the process reports."""
    reported: dict[str, Any] = {}
    child: Any = SimpleNamespace(
        settings=load({"PROCESS_NAME": "index", **variables}),
        metrics=Metrics(),
        store=None,
        heartbeat=SimpleNamespace(report=lambda code, **values: reported.update({code: values})),
    )

    async def find() -> tuple[Any, str]:
        embedders = Embedders(child, Secrets(own_key))  # type: ignore[arg-type]
        try:
            return await embedders.of("acme", CompanySettings.read({"ragConfig": rag}), "documents")
        finally:
            await embedders.close()

    return (*asyncio.run(find()), reported)


@pytest.mark.parametrize(
    ("own_key", "rag", "variables", "expected"),
    [
        ("", {}, {"EMBEDDING_MODEL": SMALL, "OPENAI_API_KEY": "k"}, (SMALL, 1536, OPENAI, "k")),
        ("own", {}, {"EMBEDDING_MODEL": SMALL, "OPENAI_API_KEY": "k"}, (SMALL, 1536, OPENAI, "own")),
        (
            "",
            {"embeddingModel": "nomic", "embeddingDimensions": 768},
            {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"},
            ("nomic", 768, "http://127.0.0.1:11434/v1", ""),
        ),
        (
            "",
            {},
            {"EMBEDDING_MODEL": "sandbox-embedding", "SANDBOX_URL": "http://127.0.0.1:3100"},
            ("sandbox-embedding", 256, "http://127.0.0.1:3100/openai/v1", ""),
        ),
        # an address of the company's gets the company's key, or none
        (
            "own",
            {"embeddingModel": SMALL, "embeddingBaseUrl": f"{OWN}/"},
            {"OPENAI_API_KEY": "k"},
            (SMALL, 1536, OWN, "own"),
        ),
        ("", {"embeddingModel": SMALL, "embeddingBaseUrl": OWN}, {"OPENAI_API_KEY": "k"}, (SMALL, 1536, OWN, "")),
    ],
)
def test_model_address_and_key(
    own_key: str, rag: dict[str, Any], variables: dict[str, str], expected: tuple[str, int, str, str]
) -> None:
    embedder, why, reported = found(own_key, rag, variables)
    assert (embedder.model, embedder.dimensions, embedder.target.base_url, embedder.target.key) == expected
    assert embedder.target.is_ours == (expected[2] != OWN)
    assert (why, reported) == ("", {})


@pytest.mark.parametrize(
    ("rag", "variables", "why", "reports"),
    [
        ({"embeddingModel": "new"}, {"OPENAI_API_KEY": "k"}, "the length of the vectors of new is not known", False),
        ({"embeddingModel": SMALL}, {}, "OPENAI_BASE_URL and OPENAI_API_KEY are not set", False),
        ({}, {"EMBEDDING_MODEL": "new", "OPENAI_API_KEY": "k"}, "the length of the vectors of new is not known", True),
        ({}, {"EMBEDDING_MODEL": SMALL}, "OPENAI_BASE_URL and OPENAI_API_KEY are not set", True),
    ],
)
def test_without_one_it_is_said_why(rag: dict[str, Any], variables: dict[str, str], why: str, reports: bool) -> None:
    embedder, said, reported = found("", rag, variables)
    assert embedder is None
    assert said.startswith(why)
    assert ("embedder_missing" in reported) == reports, "the installation's own lack is an operator's trouble"


def test_a_company_that_names_no_model_has_the_local_one() -> None:
    embedder, why, reported = found("", {}, {"OPENAI_API_KEY": "k"})
    assert (embedder.model, embedder.dimensions, why, reported) == ("wordllama-256", 256, "", {})


def test_a_length_without_a_model_is_refused() -> None:
    with pytest.raises(FieldsInvalid, match="ragConfig/embeddingModel"):
        require_consistent({"ragConfig": {"embeddingDimensions": 768}}, "/settings")
