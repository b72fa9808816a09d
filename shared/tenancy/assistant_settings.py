"""What a company's assistant is set to, as data: `assistantConfig` of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from shared.fields import Field

API_KEY_SECRET: Final = "llm_api_key"  # noqa: S105 - a name
"""Name of the company's secret with the key of its own model."""

ASSISTANT: Final = (
    Field(
        name="model",
        kind=str,
        default="",
        longest=100,
        purpose="Model that answers; empty: the installation's (`LLM_MODEL`).",
    ),
    Field(
        name="fallbackModels",
        kind=list,
        default=[],
        items=Field(kind=str, shortest=1, longest=100),
        most=5,
        purpose="Models that are asked in this order when the first one does not answer.",
    ),
    Field(
        name="baseUrl",
        kind=str,
        default="",
        longest=500,
        purpose="OpenAI-compatible API of the company's own, for example `https://api.groq.com/openai/v1`; its key is "
        "the company's secret `llm_api_key`. Empty: the installation's.",
    ),
    Field(name="prompt", kind=str, default="", longest=8000, purpose="What the assistant should know and do."),
    Field(
        name="maxTokens", kind=int, default=600, low=16, high=8000, purpose="Longest answer of the model, in tokens."
    ),
    Field(
        name="temperature", kind=float, default=0.2, low=0, high=2, purpose="How freely the model words its answers."
    ),
    Field(
        name="historyMessages",
        kind=int,
        default=20,
        low=1,
        high=100,
        purpose="Newest messages of the chat that it reads.",
    ),
    Field(
        name="cacheSeconds",
        kind=int,
        default=0,
        low=0,
        high=86_400,
        purpose="For how long an answer is given again to the very same question: the same instructions, passages and "
        "chat. Seconds; 0: never. The model then reads the day, and not the time.",
    ),
    Field(
        name="monthlyBudget",
        kind=float,
        default=0.0,
        low=0,
        high=1_000_000,
        purpose="US dollars that its model may cost in a month (UTC); 0: no limit. Checked before each call.",
    ),
    Field(
        name="onFailure",
        kind=str,
        default="handoff",
        choices=("handoff", "apology", "silence"),
        title="AssistantFailure",
        purpose="What a customer gets when there is no answer: a human (an apology where customers cannot reach one), "
        "an apology, or nothing.",
    ),
    Field(
        name="apology",
        kind=str,
        default="Sorry, I cannot answer that right now. Please try again later.",
        shortest=1,
        longest=1000,
        purpose="The apology.",
    ),
    Field(
        name="handoffText",
        kind=str,
        default="",
        longest=1000,
        purpose="What a customer gets when the assistant asks a human to take over; empty: nothing.",
    ),
    Field(
        name="redact",
        kind=bool,
        default=True,
        purpose="Whether customers' phone numbers and mail addresses are replaced by marks before a model sees them.",
    ),
    Field(
        name="functionHosts",
        kind=list,
        default=[],
        items=Field(kind=str, shortest=1, longest=253),
        most=20,
        purpose="Host names that functions of the company may call.",
    ),
)
"""The fields, as clients write them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssistantConfig:
    """`assistantConfig`, complete; see `ASSISTANT`. `budget_micros`: None: no limit."""

    models: tuple[str, ...]
    base_url: str
    prompt: str = field(repr=False)
    most_tokens: int
    temperature: float
    history: int
    cache_s: int
    budget_micros: int | None
    on_failure: Literal["handoff", "apology", "silence"]
    apology: str
    handoff_text: str
    redacts: bool
    function_hosts: tuple[str, ...]

    @classmethod
    def read(cls, full: Mapping[str, Any]) -> AssistantConfig:
        """Return what complete settings mean."""
        return cls(
            # an empty first one is the installation's
            models=(full["model"], *full["fallbackModels"]),
            base_url=full["baseUrl"],
            prompt=full["prompt"],
            most_tokens=full["maxTokens"],
            temperature=full["temperature"],
            history=full["historyMessages"],
            cache_s=full["cacheSeconds"],
            budget_micros=round(full["monthlyBudget"] * 1_000_000) or None,
            on_failure=full["onFailure"],
            apology=full["apology"],
            handoff_text=full["handoffText"],
            redacts=full["redact"],
            function_hosts=tuple(host.casefold() for host in full["functionHosts"]),
        )
