"""What does not leave to a model: phone numbers and mail addresses of customers. Each becomes a mark such as
`[phone 1]`, the same one wherever it stands; in what comes back the mark becomes what it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    # local part and domain as they are usually written; bounded, so that a text of one long word costs little
    "mail": re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"),
    # eight to fifteen digits with separators between them: an order number of seven digits stays
    "phone": re.compile(r"(?<![\w+])\+?\(?\d(?:[ \u00a0().\-/]{0,2}\d){7,14}(?!\w)"),
}
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4}")
_MARK: Final = re.compile(r"\[(?:mail|phone) \d+\]")


class Redactor:
    """The marks of one conversation.

    Attributes:
        hidden: how many different values were replaced, by kind.
    """

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self.hidden: dict[str, int] = dict.fromkeys(_PATTERNS, 0)

    def hide(self, value: Any) -> Any:
        """Return a text, or a JSON value with its texts, with marks."""
        return _mapped(value, self._hidden)

    def show(self, text: str) -> str:
        """Return a text with what its marks stand for; a mark that was never given stays."""
        return _MARK.sub(lambda found: self._values.get(found[0], found[0]), text)

    def _hidden(self, text: str) -> str:
        for kind, pattern in _PATTERNS.items():
            text = pattern.sub(lambda found, kind=kind: self._mark(kind, found[0]), text)  # type: ignore[misc]
        return text

    def _mark(self, kind: str, value: str) -> str:
        # a day and an hour have as many digits as a number, and are what appointments are made of
        if kind == "phone" and _DATE.match(value):
            return value
        if value not in self._marks:
            self.hidden[kind] += 1
            mark = f"[{kind} {self.hidden[kind]}]"
            self._marks[value], self._values[mark] = mark, value
        return self._marks[value]


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        # names and ids are the API's own
        return {
            name: item if name in ("role", "id", "tool_call_id", "type", "name") else _mapped(item, change)
            for name, item in value.items()
        }
    return [_mapped(item, change) for item in value] if isinstance(value, list | tuple) else value
