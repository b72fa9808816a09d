"""What a company is set to, as data: the fields, their limits and their defaults.

Only what was set is stored; a field that was not set has its default, so that a better default reaches every company.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from shared.fields import Field, FieldsInvalid, wrong_fields
from shared.states import CompanyState
from shared.store import companies
from shared.store.pool import Transaction
from shared.tenancy.assistant_settings import ASSISTANT, AssistantConfig

EMBEDDING_KEY_SECRET: Final = "embedding_api_key"  # noqa: S105 - a name
"""Name of the company's secret with the key of its own embedding model."""
DIMENSIONS_MOST: Final = 4000
"""Longest vector that pgvector indexes (as half precision)."""
_BLANK: Final = "must not be blank"
_WEIGHTS: Final = (
    Field(name="keyword", kind=float, default=0.3, low=0, high=1, purpose="Of the search by words."),
    Field(name="vector", kind=float, default=0.7, low=0, high=1, purpose="Of the search by meaning."),
)
_RAG: Final = (
    Field(name="chunkSize", kind=int, default=512, low=64, high=2048, purpose="Tokens of one piece of a document."),
    Field(
        name="chunkOverlap",
        kind=int,
        default=64,
        # up to half of the largest piece: `_contradictions` compares it with the piece that is set
        low=0,
        high=1024,
        purpose="Tokens that a piece shares with the one before; at most half of `chunkSize`.",
    ),
    Field(name="topK", kind=int, default=5, low=1, high=50, purpose="Pieces that a search returns at most."),
    Field(
        name="minSimilarity",
        kind=float,
        default=0.7,
        low=0,
        high=1,
        purpose="Least score of a piece, after both searches are joined; 0: all are returned.",
    ),
    Field(
        name="weights",
        kind=dict,
        title="SearchWeights",
        fields=_WEIGHTS,
        purpose="How much either search counts; not both 0.",
    ),
    Field(
        name="fusion",
        kind=str,
        default="weighted",
        choices=("weighted", "rank"),
        title="SearchFusion",
        purpose="How the two searches are joined: by their scores, or by the places that a piece has in them.",
    ),
    Field(
        name="embeddingModel",
        kind=str,
        default="",
        longest=100,
        purpose="Model that compares texts by their meaning; empty: the installation's (`EMBEDDING_MODEL`). After a "
        "change documents are indexed anew, beside what is searched.",
    ),
    Field(
        name="embeddingDimensions",
        kind=int,
        default=0,
        low=0,
        high=DIMENSIONS_MOST,
        purpose="Length of its vectors; 0: it is a model whose length is known. Another length is refused.",
    ),
    Field(
        name="embeddingBaseUrl",
        kind=str,
        default="",
        longest=500,
        purpose="OpenAI-compatible API of the company's own for it; its key is the company's secret "
        "`embedding_api_key`. Empty: the installation's.",
    ),
)
_LONGEST_MINUTES: Final = 30 * 24 * 60


def _minutes(name: str, usual: int, purpose: str) -> Field:
    return Field(name=name, kind=int, default=usual, low=0, high=_LONGEST_MINUTES, purpose=f"Minutes. {purpose}")


SETTINGS: Final = (
    Field(name="brandName", kind=str, default="", longest=100, purpose="How the company calls itself."),
    Field(name="tone", kind=str, default="", longest=500, purpose="How answers should sound, in a few words."),
    Field(
        name="locale",
        kind=list,
        default=["en"],
        items=Field(kind=str, shortest=2, longest=35, form="locale"),
        fewest=1,
        most=20,
        purpose="Languages of its customers as BCP 47 tags, the usual one first.",
    ),
    Field(
        name="enableAssistant",
        kind=bool,
        default=False,
        purpose="Whether an assistant answers what customers write, until a human takes over.",
    ),
    Field(
        name="answerDelaySeconds",
        kind=float,
        default=1.0,
        low=0,
        high=60,
        purpose="For how long an answer waits for what the customer writes next; each message begins it anew, up to "
        "five times as long.",
    ),
    Field(name="enableRag", kind=bool, default=False, purpose="Whether answers use the company's documents."),
    Field(name="enableFunctionCalling", kind=bool, default=False, purpose="Whether answers may call functions."),
    Field(name="enableHumanHandoff", kind=bool, default=False, purpose="Whether customers can reach a human."),
    Field(
        name="humanHandoffKeywords",
        kind=list,
        default=["human", "agent", "help"],
        items=Field(kind=str, shortest=1, longest=60),
        most=50,
        purpose="Words by which a customer asks for a human; found whole, in capitals or not.",
    ),
    _minutes(
        "humanTimeoutMinutes",
        60,
        "After which a conversation in which no human wrote goes back to the assistant, "
        "or is closed where there is none; 0: never.",
    ),
    _minutes(
        "waitingTimeoutMinutes",
        0,
        "After which a customer for whom no human came goes back to the assistant, or is "
        "no longer waiting where there is none; 0: never.",
    ),
    _minutes(
        "waitingLimitMinutes",
        15,
        "Longest that a customer should wait for a human: beyond it an alert is on; 0: no limit.",
    ),
    _minutes(
        "conversationTimeoutMinutes",
        1440,
        "After which a conversation with the assistant in which the customer wrote nothing is closed; 0: never.",
    ),
    Field(name="ragConfig", kind=dict, title="RagConfig", fields=_RAG, purpose="How documents are cut and searched."),
    Field(
        name="assistantConfig",
        kind=dict,
        title="AssistantConfig",
        fields=ASSISTANT,
        purpose="Which model the assistant asks, what it may cost, and what customers get when there is no answer.",
    ),
)
"""The fields, as clients write them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompanySettings:
    """Settings of one company, each with its value or its default; see `SETTINGS`.

    Attributes:
        assists: whether there is an assistant. answer_delay_s: seconds. Timeouts of None: never.
        rag: `ragConfig`, complete. assistant: `assistantConfig`.
    """

    brand_name: str
    tone: str
    locales: tuple[str, ...]
    assists: bool
    answer_delay_s: float
    waiting_timeout: timedelta | None
    idle_timeout: timedelta | None
    uses_rag: bool
    calls_functions: bool
    hands_off: bool
    handoff_keywords: tuple[str, ...]
    rag: Mapping[str, Any]
    assistant: AssistantConfig

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> CompanySettings:
        """Return what the stored settings mean."""
        full = complete(stored)
        return cls(
            brand_name=full["brandName"],
            tone=full["tone"],
            locales=tuple(full["locale"]),
            assists=full["enableAssistant"],
            answer_delay_s=full["answerDelaySeconds"],
            waiting_timeout=_duration(full["waitingTimeoutMinutes"]),
            idle_timeout=_duration(full["conversationTimeoutMinutes"]),
            uses_rag=full["enableRag"],
            calls_functions=full["enableFunctionCalling"],
            hands_off=full["enableHumanHandoff"],
            handoff_keywords=tuple(full["humanHandoffKeywords"]),
            rag=full["ragConfig"],
            assistant=AssistantConfig.read(full["assistantConfig"]),
        )


def usual_minutes(name: str) -> int:
    """Return what a duration of `SETTINGS` is where a company has not set it. Raises `StopIteration` for no name."""
    return next(int(field.default) for field in SETTINGS if field.name == name)


def _duration(minutes: int) -> timedelta | None:
    return timedelta(minutes=minutes) if minutes else None


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownCompany:
    """One company as processes know it; `version` changes with each change of it."""

    state: CompanyState
    settings: CompanySettings
    version: int


def read_company(transaction: Transaction, company_id: str) -> KnownCompany | None:
    """Return a company, None when there is none."""
    row = companies.settings(transaction, company_id)
    if row is None:
        return None
    return KnownCompany(
        state=CompanyState(row["state"]), settings=CompanySettings.read(row["settings"]), version=row["version"]
    )


def complete(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field with its value or its default."""
    return _complete(stored, SETTINGS)


def _complete(stored: Mapping[str, Any], fields: tuple[Field, ...]) -> dict[str, Any]:
    return {
        field.name: _complete(stored.get(field.name, {}), field.fields)
        if field.fields
        else stored.get(field.name, field.default)
        for field in fields
    }


def merged(stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings after a JSON merge patch (RFC 7396): null takes a field away, which then has its default.

    Args:
        patch: checked by the fields.
    """
    result = dict(stored)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = merged(result.get(name, {}), value)
        else:
            result[name] = value
    return result


def require_consistent(settings: Mapping[str, Any], at: str) -> None:
    """Raise `FieldsInvalid` when settings contradict each other, which no field shows by itself. `at`: their JSON
    pointer.
    """
    # what is no value of its field cannot be compared with another one
    if wrong := [*wrong_fields(settings, SETTINGS, at, open_=False)] or [*_contradictions(complete(settings), at)]:
        raise FieldsInvalid(wrong)


def _contradictions(full: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    rag, weights = full["ragConfig"], full["ragConfig"]["weights"]
    for name in ("locale", "humanHandoffKeywords"):
        seen = [text.strip().casefold() for text in full[name]]
        for index, text in enumerate(seen):
            if not text:
                yield f"{at}/{name}/{index}", _BLANK
            elif text in seen[:index]:
                yield f"{at}/{name}/{index}", "is listed twice"
    if 2 * rag["chunkOverlap"] > rag["chunkSize"]:
        yield f"{at}/ragConfig/chunkOverlap", f"must be at most half of chunkSize, {rag['chunkSize']}"
    if (rag["embeddingDimensions"] or rag["embeddingBaseUrl"]) and not rag["embeddingModel"]:
        yield f"{at}/ragConfig/embeddingModel", "must name the model that embeddingDimensions or embeddingBaseUrl is of"
    if not weights["keyword"] and not weights["vector"]:
        yield f"{at}/ragConfig/weights", "must not both be 0"
