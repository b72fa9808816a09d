"""The tool that ends a turn: a human goes on."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from ai.tools.tool import Tool, ToolArguments


class HandoffArguments(ToolArguments):
    """Why a human is needed."""

    reason: str = Field(default="", max_length=200, description="Why, in a few words without names or numbers.")


HANDOFF: Final = Tool(
    name="handoff_to_human",
    description="Hands the conversation to a human colleague. Use it when the customer asks for a human, complains, or "
    "needs what you cannot do.",
    arguments=HandoffArguments,
    hands_over=True,
)
