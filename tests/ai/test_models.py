"""Whose model, and whose key: pure but for a fake of the secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ai.models import ModelTargets
from shared.llm.questions import ModelTarget
from shared.settings import load
from shared.tenancy.company_settings import CompanySettings
from shared.tenancy.tenant_secrets import secret_unknown


class _Secrets:
    def __init__(self, key: str) -> None:
        self._key = key

    async def with_tenant_secret(self, company_id: str, name: str, use: Callable[[bytearray], Awaitable[Any]]) -> Any:
        assert (company_id, name) == ("acme", "llm_api_key")
        if not self._key:
            raise secret_unknown()
        return await use(bytearray(self._key.encode()))


def _targets(own_key: str = "", config: dict[str, Any] | None = None, **variables: str) -> list[tuple[str, str, str]]:
    settings = load({"PROCESS_NAME": "ai", **variables})
    found: list[ModelTarget] = [
        *asyncio.run(
            ModelTargets(settings, _Secrets(own_key)).of(  # type: ignore[arg-type]
                CompanySettings.read({"assistantConfig": config or {}}), "acme"
            )
        )
    ]
    return [(one.model, one.base_url, one.key) for one in found]


_OPENAI = "https://api.openai.com/v1"
_OWN = "https://llm.acme.example/v1"


@pytest.mark.parametrize(
    ("own_key", "config", "variables", "expected"),
    [
        ("", {}, {}, []),
        ("", {}, {"OPENAI_API_KEY": "k", "LLM_MODEL": "m"}, [("m", _OPENAI, "k")]),
        ("", {}, {"SANDBOX_URL": "http://127.0.0.1:3100"}, [("sandbox-model", "http://127.0.0.1:3100/openai/v1", "")]),
        ("own", {"model": "x"}, {"OPENAI_API_KEY": "k", "LLM_MODEL": "m"}, [("x", _OPENAI, "own")]),
        (
            "",
            {"fallbackModels": ["m", "n"]},
            {"OPENAI_API_KEY": "k", "LLM_MODEL": "m"},
            [("m", _OPENAI, "k"), ("n", _OPENAI, "k")],
        ),
        # an address of the company's gets the company's key, or none
        ("own", {"model": "x", "baseUrl": f"{_OWN}/"}, {"OPENAI_API_KEY": "k", "LLM_MODEL": "m"}, [("x", _OWN, "own")]),
        ("", {"model": "x", "baseUrl": _OWN}, {"OPENAI_API_KEY": "k", "LLM_MODEL": "m"}, [("x", _OWN, "")]),
        ("", {"baseUrl": _OWN}, {"OPENAI_API_KEY": "k", "LLM_MODEL": "m"}, []),
    ],
)
def test_targets(
    own_key: str, config: dict[str, Any], variables: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    assert _targets(own_key, config, **variables) == expected
