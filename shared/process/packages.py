"""The sentence for an operator about a package that a kind needs and that is not installed."""

from __future__ import annotations

from typing import Final

from shared.errors import SettingsInvalid
from shared.kinds import KINDS, ProcessKind

_OURS: Final = frozenset({"shared", *(kind.room for kind in KINDS)})


def missing_package(error: ModuleNotFoundError, kind: ProcessKind) -> SettingsInvalid | None:
    """Return what has to be installed for a failed import; None when the missing module is one of ours, which is a
    fault of the program.
    """
    package = (error.name or "").partition(".")[0]
    return None if not package or package in _OURS else SettingsInvalid([not_installed(package, kind)])


def not_installed(package: str, kind: ProcessKind) -> str:
    """Return the sentence about a package that `kind` needs and that is not installed."""
    extra, of = (f"[{kind.extra}]", f" of the extra {kind.extra}") if kind.extra else ("", "")
    return f"kind {kind.name} needs the package {package}{of}, which is not installed: pip install '.{extra}'"
