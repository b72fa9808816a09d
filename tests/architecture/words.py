"""The glossary's law: old names in code and files, persons for processes in prose. Each check returns one sentence for
each violation, with the place."""

from __future__ import annotations

import ast
import functools
import io
import itertools
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.architecture.source import Module

PERSONS: Final = "he|him|his|himself|who(?:m|so)?ever|somebody|anybody|everybody|nobody"
"""A process, a row or a server is a thing: name it."""

VOICES: Final = (
    "told|tell|tells|telling|hear|hears|heard|news|(?:what|which) (?:has )?(?:became|become|becomes|came|comes) of"
)
"""Processes notify, report, receive and poll; what follows from an action is its outcome or its state."""

NOT_IN_NAMES: Final = (
    *("he", "him", "his", "whoever", "somebody", "anybody", "everybody", "nobody"),
    *("told", "tell", "tells", "telling", "hear", "hears", "heard", "news"),
)
"""The same in identifiers, word by word."""

LOG_METHODS: Final = ("debug", "info", "warning", "error", "exception", "critical")

OF_PROSE: Final = re.compile(rf"\b(?:{PERSONS}|{VOICES})\b", re.IGNORECASE)

_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_CODE: Final = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)", re.DOTALL)
_FENCES: Final = re.compile(r"```.*?```|~~~.*?~~~", re.DOTALL)
_SQL_LITERAL: Final = re.compile(r"--[^\n]*|'[^']*'|\$\$")


class Glossary(NamedTuple):
    """A row of the glossary: the word in use, and the identifiers' words that it replaced."""

    word: str
    replaced: tuple[str, ...]


def glossary(markdown: str) -> list[Glossary]:
    """Return the rows of the three-column table below the heading `Glossary`; what stands in backticks in its third
    column is refused."""
    _, _, text = markdown.partition("\n## Glossary\n")
    rows = [line.strip("|").split("|") for line in text.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return [Glossary(cells[0].strip(), tuple(re.findall(r"`([^`]+)`", cells[2]))) for cells in rows[1:]]


@functools.cache
def words_of(name: str) -> str:
    """Return the words of an identifier or a file's name, in small letters and between underscores: `queueFound`,
    `queue_found` and `queue-found` are all `_queue_found_`."""
    return f"_{'_'.join(word.lower() for word in _WORD.findall(name))}_"


def holds(name: str, old: str) -> bool:
    """Whether the words of `old`, which may be several, stand in a row in `name`."""
    return words_of(old) in words_of(name)


def names_in(module: Module) -> Iterator[tuple[int, str]]:
    """Return every name that a module defines or passes, with its line."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def names_in_sql(text: str) -> Iterator[tuple[int, str]]:
    """Return every name in a file of statements, with its line; literals and comments are left out."""
    bare = _SQL_LITERAL.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(bare.splitlines(), 1):
        for name in re.findall(r"[A-Za-z_]\w*", line):
            yield number, name


def old_names(path: Path, names: Iterable[tuple[int, str]], old: Sequence[str]) -> list[str]:
    """Names of a file that the glossary has replaced; the file's own name counts too."""
    found: dict[tuple[str, str], int] = {}
    lines: dict[str, int] = {path.stem: 0}
    # each name once, where it stands first: most stand in many lines
    for line, name in names:
        lines.setdefault(name, line)
    for name, line in lines.items():
        for word in old:
            if holds(name, word):
                found[name, word] = line
    return [
        f"{path}:{line}: {name} has the old word {word!r}; see the glossary" for (name, word), line in found.items()
    ]


def persons_in_names(path: Path, names: Iterable[tuple[int, str]]) -> list[str]:
    """Names of a file in which a process, a row or a server is a person."""
    return old_names(path, names, NOT_IN_NAMES)


def literals_of_python(module: Module) -> Iterator[tuple[int, str]]:
    """Return what a user or an operator may read: strings of more than one word, such as titles of problems, help,
    reasons and descriptions of metrics. Docstrings are left out.
    """
    prose = {id(node.value) for node in module.nodes if isinstance(node, ast.Expr)}
    for node in module.nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in prose
            and " " in node.value.strip()
        ):
            yield node.lineno, node.value


def log_events(module: Module) -> Iterator[tuple[int, str]]:
    """Return the names of events that a module logs: the literal first argument of `log.info` and its like."""
    for node in module.nodes:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LOG_METHODS
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            yield node.lineno, node.args[0].value


def prose_of_python(module: Module) -> Iterator[tuple[int, str]]:
    """Return docstrings and comments of a module, line by line."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in module.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for offset, line in enumerate(node.value.value.splitlines()):
                yield node.lineno + offset, line


def prose_of_sql(text: str) -> Iterator[tuple[int, str]]:
    """Return the comments of a file of statements."""
    for number, line in enumerate(text.splitlines(), 1):
        if "--" in line:
            yield number, line.partition("--")[2]


def prose_of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """Return a document's lines without code, links' targets and comments."""
    yield from enumerate(_CODE.sub(lambda found: "\n" * found[0].count("\n"), text).splitlines(), 1)


def persons_and_voices(path: Path, prose: Iterable[tuple[int, str]]) -> list[str]:
    """Places where a process is a person: one sentence each."""
    return [
        f"{path}:{line}: {found[0]!r}: name the thing, notify, report, receive, outcome, event"
        for line, text in prose
        for found in OF_PROSE.finditer(re.sub(r"`[^`]*`", "", text))
    ]


def empty_headings(path: Path, text: str) -> list[str]:
    """Tables whose first line has no words."""
    lines = text.splitlines()
    return [
        f"{path}:{number}: a table without headings"
        for number, (line, below) in enumerate(itertools.pairwise(lines), 1)
        if line.startswith("|") and re.fullmatch(r"\|[ :|-]+\|", below) and not re.search(r"\w", line)
    ]


def says_for_whom(path: Path, text: str) -> list[str]:
    """Pages whose first sentence does not name its readers."""
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    opens = len(paragraphs) > 1 and paragraphs[0].startswith("# ") and paragraphs[1].startswith("For ")
    return [] if opens else [f"{path}: opens with `For …`, that is, with who needs it"]


def mixes_use_and_internals(path: Path, text: str) -> list[str]:
    """Pages for users with a heading about the inside, and pages below `internals` that are not for developers."""
    if "internals" in path.parts:
        opens = re.search(r"^# .*?\n\nFor developers ", text, re.DOTALL)
        return [] if opens else [f"{path}: a page below internals opens with `For developers …`"]
    return [
        f"{path}:{number}: {line!r} belongs on a page below docs/internals"
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(
            r"#+ (?:Internals|How it works|Where it is in the code|Implementation)\b|\| file \|", line, re.IGNORECASE
        )
    ]


def dead_links(root: Path, path: Path, text: str) -> list[str]:
    """Relative links of a page that lead to no file."""
    return [
        f"{path}: there is no {target}"
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", _FENCES.sub("", text))
        if "://" not in target and not (root / path.parent / target).exists()
    ]


def wide_lines(path: Path, text: str, most: int = 120) -> list[str]:
    """Lines of more than `most` characters."""
    return [
        f"{path}:{number}: {len(line)} characters"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > most
    ]
