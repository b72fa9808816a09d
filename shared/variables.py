"""Reads and checks environment variables against their declarations (`shared.kinds.Variable`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from shared.kinds import ORCHESTRATOR_OFFSET, ProcessKind, Variable, admin_port, kind_settings


def made_by(row: ProcessKind) -> list[Variable]:
    """Return the variables that a kind's row makes, each with the row's value as default."""
    return [
        Variable(
            name=name,
            default=getattr(row, setting.field),
            purpose=setting.purpose,
            low=setting.low,
            high=row.instances_most if setting.field == "instances" else setting.high,
        )
        for setting, name in kind_settings(row)
    ]


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc or parts.path)


def _parse(variable: Variable, text: str) -> Any:
    name, default, value = variable.name, variable.default, text
    number: float | None = None
    try:
        if isinstance(default, int | float):
            # the default's type is the declaration: `int("1.5")` is refused where whole numbers are meant
            number = type(default)(text)
    except ValueError:
        raise ValueError(
            f"{name}={text!r} is not {'a whole number' if isinstance(default, int) else 'a number'}"
        ) from None
    if variable.choices and value not in variable.choices:
        raise ValueError(f"{name}={text!r} is not one of {', '.join(variable.choices)}")
    if variable.schemes and not _is_address(text, variable.schemes):
        schemes = " or ".join(f"{scheme}://" for scheme in variable.schemes)
        # the value is left out: an address may hold a password
        raise ValueError(f"{name} is not an address that begins with {schemes}")
    if number is None:
        return value
    if not math.isfinite(number):
        raise ValueError(f"{name}={text!r} is not a finite number")
    if variable.low is not None and number < variable.low:
        raise ValueError(f"{name}={text} is out of range: at least {variable.low:g}")
    if variable.high is not None and number > variable.high:
        raise ValueError(f"{name}={text} is out of range: at most {variable.high:g}")
    return number


class VariableReader:
    """Reads variables, and collects a sentence for each that is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def read(self, variable: Variable, *other_names: str) -> Any:
        """Return a variable's value, or None when it is not set or wrong."""
        # blank counts as not set: an empty line in an environment file must not override a default
        given = {name: text for name in (variable.name, *other_names) if (text := self._environ.get(name, "").strip())}
        # neither name wins silently: which one an operator meant cannot be known
        if len(set(given.values())) > 1:
            self.problems.append(f"{' and '.join(given)} are one setting and differ; set {variable.name} alone")
        for text in given.values():
            try:
                return _parse(variable, text)
            except ValueError as problem:
                self.problems.append(str(problem))
                return None
        return None

    def fields(self, table: Mapping[str, Variable]) -> dict[str, Any]:
        """Return the fields of a table that are set."""
        return {name: value for name, variable in table.items() if (value := self.read(variable)) is not None}

    def row(self, row: ProcessKind) -> ProcessKind:
        """Return a kind's row with the operator's values."""
        changes = {}
        for (setting, _), variable in zip(kind_settings(row), made_by(row), strict=True):
            value = self.read(variable, *(setting.variable(alias) for alias in row.aliases))
            if value is not None:
                changes[setting.field] = value
        return replace(row, **changes)


def port_problems(kinds: Sequence[ProcessKind], first_admin_port: int) -> list[str]:
    """Return a sentence for each port that is used twice: public ports differ from each other and from the loopback
    ports of the slots, which lie below 65536.
    """
    problems = []
    names = {row.name: name for row in kinds for setting, name in kind_settings(row) if setting.field == "port"}
    used: dict[int, str] = {}
    private = {
        admin_port(first_admin_port, row, instance): f"{row.name}-{instance}"
        for row in kinds
        for instance in range(row.instances_most)
    }
    private[first_admin_port + ORCHESTRATOR_OFFSET] = "the orchestrator"
    for row in kinds:
        if not row.port:
            continue
        name = names[row.name]
        # the first owner of a port keeps it, so that each further one is reported with it
        if (twin := used.setdefault(row.port, name)) != name:
            problems.append(f"{name}={row.port} is also {twin}; give each its own port")
        if slot := private.get(row.port):
            problems.append(
                f"{name}={row.port} is the loopback port of {slot}, counted from ADMIN_PORT={first_admin_port}; "
                "move one of them"
            )
    if (last := max(private, default=0)) > 65535:
        problems.append(f"ADMIN_PORT={first_admin_port} is too high: the last loopback port would be {last}")
    return problems
