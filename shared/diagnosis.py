"""What a check of an installation found: shared by `bulkhead doctor` and the process that asks the servers for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class CheckResult(StrEnum):
    """How a check went."""

    OK = "ok"
    """As it should be."""
    WARN = "warn"
    """It runs like this, but something will not work, or not for long."""
    FAIL = "fail"
    """It does not run like this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """One check.

    Attributes:
        check: what was looked at. finding: what is so. mend: what to do; empty when nothing is.
    """

    check: str
    result: CheckResult
    finding: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def ok(check: str, finding: str) -> Diagnosis:
    """Return a check that found nothing wrong."""
    return Diagnosis(check=check, result=CheckResult.OK, finding=finding)


def warn(check: str, finding: str, mend: str) -> Diagnosis:
    """Return a check that found something to mend."""
    return Diagnosis(check=check, result=CheckResult.WARN, finding=finding, mend=mend)


def fail(check: str, finding: str, mend: str) -> Diagnosis:
    """Return a check that found something without which it does not run."""
    return Diagnosis(check=check, result=CheckResult.FAIL, finding=finding, mend=mend)
