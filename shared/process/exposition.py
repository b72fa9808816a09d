"""Figures as data, and Prometheus' text exposition format 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

# Version of Prometheus' text exposition format, by which a scraper chooses its parser.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FamilyType = Literal["counter", "gauge", "histogram"]
_TYPES: Final = get_args(FamilyType)


@dataclass(frozen=True, slots=True)
class Figure:
    """One value. `name`: the family's, with `_bucket`, `_sum` or `_count` in a histogram."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """All values of one name. `purpose`: one sentence for people."""

    name: str
    type: FamilyType
    purpose: str
    samples: Sequence[Figure]

    def as_json(self) -> list[Any]:
        """Return it as JSON values; `family_of` reads them."""
        return [
            self.name,
            self.type,
            self.purpose,
            [[sample.name, dict(sample.labels), sample.value] for sample in self.samples],
        ]


def family_of(values: Any) -> Family:
    """Return the family that `Family.as_json` wrote. Raises `ValueError` or `TypeError` when the values are none."""
    name, kind, purpose, samples = values
    if kind not in _TYPES:
        raise ValueError(f"{kind!r} is no type of figures")
    return Family(
        str(name),
        kind,
        str(purpose),
        [Figure(str(one), {str(key): str(text) for key, text in dict(labels).items()}, float(value))
         for one, labels, value in samples],
    )  # fmt: skip


def labelled(families: Iterable[Family], labels: Mapping[str, str]) -> list[Family]:
    """Return families whose samples have `labels` too; a sample's own label of the same name stays."""
    return [
        replace(
            family,
            samples=[Figure(sample.name, {**labels, **sample.labels}, sample.value) for sample in family.samples],
        )
        for family in families
    ]


def merged(groups: Iterable[Iterable[Family]]) -> list[Family]:
    """Return the families of several processes, each name once, in the order of the names."""
    found: dict[str, Family] = {}
    for group in groups:
        for family in group:
            known = found.get(family.name)
            # one name has one type: processes of different versions may differ for a moment
            if known is None:
                found[family.name] = replace(family, samples=[*family.samples])
            elif known.type == family.type:
                found[family.name] = replace(known, samples=[*known.samples, *family.samples])
    return [found[name] for name in sorted(found)]


def render(families: Iterable[Family]) -> bytes:
    """Return families in the text format."""
    lines = []
    for family in families:
        # the parser refuses a name without a value only in strict readers, and a head without values says nothing
        if not family.samples:
            continue
        purpose = family.purpose.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {family.name} {purpose}", f"# TYPE {family.name} {family.type}"]
        lines += [f"{sample.name}{_labels(sample.labels)} {_number(sample.value)}" for sample in family.samples]
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _labels(labels: Mapping[str, str]) -> str:
    shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
    return f"{{{shown}}}" if shown else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
