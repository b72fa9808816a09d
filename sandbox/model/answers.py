"""What the stand-in says by itself: what its prompt holds about the question, and where that stands; or a call of the
tool that the question names. No knowledge of its own, and the same answer to the same request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.model.words import overlap, stems

UNKNOWN: Final = "I do not know that: what I was given says nothing about it."
_SOURCE: Final = re.compile(
    r"^\W*(?:source|from)\s*:\s*(?P<named>.+?)\W*$|^\[(?P<bracket>[^\]]+)\]\s*:?$", re.IGNORECASE
)
"""A line that names where the lines below it come from: `Source: terms.pdf, page 3` or `[terms.pdf, page 3]`."""
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_NUMBER: Final = re.compile(r"(?<![\w.-])\d+(?![\w-])")
_DAY: Final = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:T[\d:]+(?:Z|[+-]\d{2}:\d{2})?)?")
_SENTENCES_MOST: Final = 2


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says: a text, or calls of tools as (name, arguments)."""

    text: str | None
    calls: tuple[tuple[str, str], ...] = ()


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whose content is a text, a list of parts, or nothing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def reply(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
    """Return the stand-in's own answer to a conversation."""
    last = messages[-1]
    if last["role"] == "tool":
        return Reply(_of_result(text_of(last)))
    question = next((text_of(one) for one in reversed(messages) if one["role"] == "user"), "")
    if (call := _call(question, tools)) is not None:
        return call
    return Reply(_known(question, "\n\n".join(text_of(one) for one in messages if one["role"] in _INSTRUCTING)))


_INSTRUCTING: Final = frozenset({"system", "developer"})


def _of_result(result: str) -> str:
    """Return a tool's result as an answer."""
    try:
        found = json.loads(result)
    except ValueError:
        return result or UNKNOWN
    if isinstance(found, Mapping):
        for name in ("message", "error"):
            if isinstance(found.get(name), str):
                return str(found[name])
    return json.dumps(found, ensure_ascii=False)


def _known(question: str, prompt: str) -> str:
    """Return the sentences of a prompt that have most in common with a question, and their source."""
    asked = set(stems(question))
    # what an instruction says about every question is no knowledge: only text below a source counts
    best = max(
        ((overlap(asked, text), -index, source, text) for index, (source, text) in enumerate(_passages(prompt))),
        default=None,
    )
    if best is None or not best[0]:
        return UNKNOWN
    _, _, source, text = best
    sentences = [one.strip() for one in _SENTENCE.split(text) if one.strip()]
    ranked = sorted(range(len(sentences)), key=lambda index: (-overlap(asked, sentences[index]), index))
    kept = sorted(index for index in ranked[:_SENTENCES_MOST] if overlap(asked, sentences[index]))
    return f"{' '.join(sentences[index] for index in kept)} (Source: {source})"


def _passages(prompt: str) -> Iterator[tuple[str, str]]:
    source, lines = "", list[str]()
    for line in [*prompt.splitlines(), "[end]"]:
        if (found := _SOURCE.match(line.strip())) is None:
            lines.append(line)
            continue
        if source and (text := "\n".join(lines).strip()):
            yield source, text
        source, lines = found["named"] or found["bracket"], []


def _call(question: str, tools: Sequence[Mapping[str, Any]]) -> Reply | None:
    """Return a call of the tool whose name the question has most words of; None when it has none."""
    asked = set(stems(question))
    scored = [
        (overlap(asked, str(tool["function"]["name"]).replace("_", " ")), -index) for index, tool in enumerate(tools)
    ]
    best = max(scored, default=(0, 0))
    if not best[0]:
        return None
    function = tools[-best[1]]["function"]
    schema = function.get("parameters") or {}
    arguments, missing = _filled(schema, question)
    if missing:
        return Reply(f"For that I need to know: {', '.join(missing)}.")
    return Reply(None, ((function["name"], json.dumps(arguments)),))


def _filled(schema: Mapping[str, Any], text: str) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments that a text gives, and the names of required ones that it does not."""
    arguments: dict[str, Any] = {}
    required = schema.get("required", ())
    for name, one in (schema.get("properties") or {}).items():
        if (value := _value(one, text, is_required=name in required)) is not None:
            arguments[name] = value
    return arguments, [name for name in required if name not in arguments]


def _value(schema: Mapping[str, Any], text: str, *, is_required: bool) -> Any:
    if "enum" in schema:
        return next((one for one in schema["enum"] if str(one).casefold() in text.casefold()), None)
    if schema.get("type") in ("integer", "number"):
        found = _NUMBER.search(_DAY.sub(" ", text))
        return int(found[0]) if found else None
    if str(schema.get("format", "")).startswith("date"):
        found = _DAY.search(text)
        return found[0] if found else None
    # any text will do: the question itself; what need not be given is not guessed
    return text if schema.get("type") == "string" and is_required else None
