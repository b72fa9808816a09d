"""The program's source, read once: its modules, and which module imports what, by ast and without importing
anything."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

NOT_PROGRAM = frozenset(
    {
        "tests",
        "bench",
        "script",
        "docs",
        "deploy",
        "build",
        "dist",
        "var",
        "migrations",
        "setup",
        "bulkhead_client",
        "examples",
    }
)


@dataclass(frozen=True)
class Import:
    """One edge: `importer` imports the module or name `target` in line `line`."""

    importer: str
    target: str
    line: int
    path: Path


@dataclass(frozen=True)
class Module:
    """One file of source."""

    name: str
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree. To walk all trees takes seconds, and many checks need it."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Everything that is imported anywhere in the file, in functions and for type checking too."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [Import(self.name, alias.name, node.lineno, self.path) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                origin = ".".join([*above, *([node.module] if node.module else [])])
                found += [Import(self.name, f"{origin}.{alias.name}", node.lineno, self.path) for alias in node.names]
        return tuple(found)


class Source:
    """All modules below a folder, apart from hidden folders and `leave_out`."""

    def __init__(self, root: Path, leave_out: frozenset[str] = NOT_PROGRAM) -> None:
        self.root = root
        self.modules = {module.name: module for module in self._read(leave_out)}

    def _read(self, leave_out: frozenset[str]) -> Iterator[Module]:
        for path in sorted(self.root.rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            if parts[0] in leave_out or any(part.startswith(".") for part in parts):
                continue
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield Module(name, path.relative_to(self.root), path.read_text(encoding="utf-8"))

    @cached_property
    def folders(self) -> frozenset[str]:
        """Top-level names that are ours."""
        return frozenset(name.split(".")[0] for name in self.modules)

    def resolve(self, target: str) -> str | None:
        """Return which of our modules an import of `target` (a module, or a name in one) loads; None when it is not
        ours."""
        while target:
            if target in self.modules:
                return target
            target = target.rpartition(".")[0]
        return None

    def edges(self) -> Iterator[tuple[Import, str]]:
        """Every import of one of our modules by another, with the module that is loaded."""
        for module in self.modules.values():
            for edge in module.imports:
                loaded = self.resolve(edge.target)
                if loaded is not None and loaded != module.name:
                    yield edge, loaded

    def foreign(self) -> Iterator[tuple[Import, str]]:
        """Every import of a third-party package, with the package's name."""
        for module in self.modules.values():
            for edge in module.imports:
                package = edge.target.split(".")[0]
                if package not in sys.stdlib_module_names and package not in self.folders:
                    yield edge, package
