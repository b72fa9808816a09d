"""The checks. Each takes source and a rule as data and returns one sentence for each violation, with the place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from tests.architecture.rules import LEAVES
from tests.architecture.source import Module, Source


def layer_of(module: str, layers: Mapping[str, Sequence[str]]) -> str | None:
    """Return the longest name in `layers` that `module` is or lies in; files directly in `shared` are its leaves, its
    folders are not."""
    candidates = [name for name in layers if module == name or module.startswith(f"{name}.")]
    best = max(candidates, key=len, default=None)
    return None if best == LEAVES and module.count(".") > 1 else best


def imports_pointing_up(source: Source, layers: Mapping[str, Sequence[str]]) -> list[str]:
    """Imports that the layers do not allow, and modules that stand in no layer."""
    found = [
        f"{module.path}: stands in no layer; add a row to the rules"
        for module in source.modules.values()
        if layer_of(module.name, layers) is None
    ]
    for edge, loaded in source.edges():
        here, there = layer_of(edge.importer, layers), layer_of(loaded, layers)
        if here and there and here != there and there not in layers[here]:
            found.append(f"{edge.path}:{edge.line}: {here} may not import {there} ({edge.target})")
    return found


def rooms_that_know_each_other(source: Source, rooms: Sequence[str]) -> list[str]:
    """Imports from one room into another: an error in one would reach the other."""
    found = []
    for edge, loaded in source.edges():
        here, there = edge.importer.split(".")[0], loaded.split(".")[0]
        if here in rooms and there in rooms and here != there:
            found.append(f"{edge.path}:{edge.line}: room {here} imports room {there}")
    return found


def cycles(source: Source) -> list[str]:
    """Circles of imports between modules. A package's own `__init__` loading its parts is no circle."""
    graph: dict[str, set[str]] = {name: set() for name in source.modules}
    for edge, loaded in source.edges():
        if not edge.importer.startswith(f"{loaded}."):
            graph[edge.importer].add(loaded)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"circle of imports: {' -> '.join(error.args[1])}"]
    return []


def side_doors(source: Source, doors: Mapping[str, Sequence[str]]) -> list[str]:
    """Third-party packages that are imported elsewhere than through their door, or have none."""
    found = []
    for edge, package in source.foreign():
        allowed = doors.get(package)
        if allowed is None:
            found.append(f"{edge.path}:{edge.line}: {package} has no door; add it to the rules or leave it out")
        elif not any(edge.importer == door or edge.importer.startswith(f"{door}.") for door in allowed):
            found.append(f"{edge.path}:{edge.line}: {package} enters only by {', '.join(allowed)}")
    return found


def doors_without_use(source: Source, doors: Mapping[str, Sequence[str]]) -> list[str]:
    """Rules about doors that no import uses any more."""
    used = {
        (package, door)
        for edge, package in source.foreign()
        for door in doors.get(package, ())
        if f"{edge.importer}.".startswith(f"{door}.")
    }
    return [
        f"{package}: nobody imports it in {door}"
        for package, allowed in doors.items()
        for door in allowed
        if (package, door) not in used
    ]


def readers_of_environment(source: Source, allowed: Sequence[str]) -> list[str]:
    """Places that read or write the process environment."""
    names = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    found = []
    for module in source.modules.values():
        if module.name in allowed:
            continue
        attributes = [node for node in module.nodes if isinstance(node, ast.Attribute) and node.attr in names]
        lines = [node.lineno for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "os"]
        lines += [edge.line for edge in module.imports if edge.target in {f"os.{name}" for name in names}]
        found += [f"{module.path}:{line}: only {', '.join(allowed)} may touch the environment" for line in lines]
    return found


def empty_names(source: Source, forbidden: Sequence[str]) -> list[str]:
    """Files, folders and classes whose names say nothing."""
    found = []
    for module in source.modules.values():
        found += [
            f"{module.path}: the name {part!r} says nothing"
            for part in module.path.with_suffix("").parts
            if part.lower().strip("_") in forbidden
        ]
        for node in module.nodes:
            if isinstance(node, ast.ClassDef) and node.name.lower().endswith(tuple(forbidden)):
                found.append(f"{module.path}:{node.lineno}: the class name {node.name} says nothing")
    return found


def repeated_class_names(source: Source, of_one_meaning: Sequence[str]) -> list[str]:
    """Names that several classes have, apart from private ones and those that mean the same everywhere; and listed
    names that occur once."""
    places: dict[str, list[str]] = {}
    for module in source.modules.values():
        for node in module.nodes:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{module.path}:{node.lineno}")
    found = [
        f"{name}: {', '.join(where)}; one name, one meaning"
        for name, where in places.items()
        if len(where) > 1 and name not in of_one_meaning
    ]
    return found + [f"{name}: listed, but not repeated" for name in of_one_meaning if len(places.get(name, [])) < 2]


def long_files(
    source: Source, longest: int, exceptions: Mapping[str, str], of_any_length: Sequence[str] = ()
) -> list[str]:
    """Files longer than `longest` lines without a reason, and reasons for files that are not long."""
    counted = {str(module.path): module.text.count("\n") for module in source.modules.values()}
    lines = {path: count for path, count in counted.items() if path not in of_any_length}
    found = [
        f"{path}: {count} lines, more than {longest}; split it or give the reason"
        for path, count in lines.items()
        if count > longest and not exceptions.get(path)
    ]
    return found + [f"{path}: listed as long, but is not" for path in exceptions if lines.get(path, 0) <= longest]


def modules_without_docstring(source: Source) -> list[str]:
    """Modules that do not open with a sentence; empty package markers are let through."""
    return [
        f"{module.path}: does not open with a docstring"
        for module in source.modules.values()
        if module.text.strip() and not ast.get_docstring(module.tree)
    ]


_SQL = re.compile(
    r"\s*(select\s.+\sfrom\s|select\s+\S+\(|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s*\(|"
    r"(create|alter|drop)\s+(table|index|view|role|database|extension|type|function)\s|(listen|notify)\s+\w+|truncate\s+\w+|begin$|commit$|rollback$)",
    re.IGNORECASE | re.DOTALL,
)


def sql_in_python(source: Source) -> list[str]:
    """String literals that are SQL statements. Docstrings may speak of SQL."""
    found = []
    for module in source.modules.values():
        docstrings = {id(statement.value) for statement in module.nodes if isinstance(statement, ast.Expr)}
        literals = (node for node in module.nodes if isinstance(node, ast.Constant) and id(node) not in docstrings)
        found += [
            f"{module.path}:{literal.lineno}: SQL belongs into a .sql file: {literal.value.strip()[:60]!r}"
            for literal in literals
            if isinstance(literal.value, str) and _SQL.match(literal.value)
        ]
    return found


LEVELS = frozenset({"debug", "info", "warning", "error"})
_EVENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def _calls_of_log(module: Module) -> Iterator[ast.Call]:
    for node in module.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name.lstrip("_") == "log":
                yield node


def log_events(source: Source) -> dict[str, str]:
    """Return every literal event name with the first place that writes it."""
    events: dict[str, str] = {}
    for module in source.modules.values():
        for call in _calls_of_log(module):
            if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
                events.setdefault(call.args[0].value, f"{module.path}:{call.lineno}")
    return events


def unclear_events(source: Source) -> list[str]:
    """Log calls whose event is not one literal word of the closed list's form."""
    found = []
    for module in source.modules.values():
        for call in _calls_of_log(module):
            literal = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
            if not isinstance(literal, str):
                found.append(f"{module.path}:{call.lineno}: the event is not a literal")
            elif not _EVENT.fullmatch(literal):
                found.append(f"{module.path}:{call.lineno}: {literal!r} is not written like message_sent")
    return found


def undocumented(kind: str, in_code: Mapping[str, str], in_document: Sequence[str], document: str) -> list[str]:
    """What stands in the code and not in its document, the other way round, and what the document says twice."""
    found = [
        f"{place}: {kind} {name} is not in {document}" for name, place in in_code.items() if name not in in_document
    ]
    found += [f"{document}: {kind} {name} is not in the code" for name in in_document if name not in in_code]
    return found + [
        f"{document}: {kind} {name} stands there twice"
        for name in sorted({name for name in in_document if in_document.count(name) > 1})
    ]


def first_cells(markdown: str) -> list[str]:
    """Return what stands in backticks in the first cell of each row of the document's tables."""
    return re.findall(r"^\| *`([^`|]+)` *\|", markdown, re.MULTILINE)
