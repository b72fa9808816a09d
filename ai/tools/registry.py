"""Which tools a company's assistant has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ai.tools.handoff import HANDOFF
from ai.tools.tool import Tool
from shared.tenancy.company_settings import CompanySettings


class ToolSource(Protocol):
    """Has tools of companies."""

    async def of(self, settings: CompanySettings, company_id: str) -> Sequence[Tool]:
        """Return a company's. Raises `StoreUnavailable`."""


class ToolBox:
    """All tools. `sources`: of those that companies have where functions are on; of two with one name the first."""

    def __init__(self, sources: Sequence[ToolSource]) -> None:
        self._sources = sources

    async def of(self, settings: CompanySettings, company_id: str, *, is_chat: bool) -> Mapping[str, Tool]:
        """Return a company's tools by name. `is_chat`: there is a conversation, which a human can take over."""
        found: dict[str, Tool] = {}
        if is_chat and settings.hands_off:
            found[HANDOFF.name] = HANDOFF
        if settings.calls_functions:
            for source in self._sources:
                for tool in await source.of(settings, company_id):
                    found.setdefault(tool.name, tool)
        return found
