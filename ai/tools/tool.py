"""What a tool is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import BulkheadError
from shared.store.pool import Transaction

RESULT_MOST: Final = 8000
"""Characters of a result that a model reads."""


class ToolFailed(BulkheadError):
    """Raised when a tool cannot do what was asked; the model reads the sentence, so it holds no secret."""


class ToolArguments(BaseModel):
    """Arguments of a tool; unknown ones are refused, so that the model learns of its mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolContext:
    """Whom a tool works for.

    Attributes:
        customer: the chat that it is about. key: of this very call, the same after a restart.
    """

    company_id: str
    connection_id: int | None
    customer: str
    key: str


RowsEffect = Callable[[Transaction, ToolContext, Any], Mapping[str, Any]]
OutsideEffect = Callable[[ToolContext, Any], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        arguments: their types. in_rows: does its work in rows, in the transaction that writes its result: both or
            neither. outside: does it elsewhere. is_repeatable: doing it twice is as good as once. hands_over: ends
            the turn, and a human goes on.
    """

    name: str
    description: str
    arguments: type[ToolArguments]
    in_rows: RowsEffect | None = None
    outside: OutsideEffect | None = None
    is_repeatable: bool = False
    hands_over: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the tool as a model reads it."""
        parameters = self.arguments.model_json_schema()
        parameters.pop("title", None)
        parameters.pop("description", None)
        for one in parameters.get("properties", {}).values():
            one.pop("title", None)
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    def read(self, arguments: str) -> ToolArguments:
        """Return the arguments that a model gave. Raises `ToolFailed` with what is wrong with them."""
        try:
            return self.arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in error.errors()[:5]
            )
            raise ToolFailed(f"wrong arguments: {wrong}. Correct them and call the tool again.") from None


def digest(name: str, arguments: str) -> str:
    """Return what names a call with these arguments, however they are spelled."""
    try:
        spelled = json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        spelled = arguments
    return hashlib.blake2b(f"{name}\0{spelled}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def as_text(result: Mapping[str, Any]) -> str:
    """Return a result as a model reads it."""
    return json.dumps(result, ensure_ascii=False, default=str)[:RESULT_MOST]
