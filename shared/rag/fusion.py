"""Joins what the two searches found: by weights over their scores, or by rank alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

FusionKind = Literal["weighted", "rank"]
FUSIONS: Final[tuple[FusionKind, ...]] = ("weighted", "rank")
_RANK_CONSTANT: Final = 60
"""Of reciprocal rank fusion (Cormack, Clarke, Büttcher 2009): how much less a second place counts than a first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LegScores:
    """What one search says of passages.

    Attributes:
        weight: how much it counts. scores: from 0 to 1, by passage; for rank fusion the best first.
    """

    weight: float
    scores: Mapping[int, float]

    def ranks(self) -> Mapping[int, int]:
        """Return the place of each passage, from 1; equal scores have the same place."""
        ordered = sorted(set(self.scores.values()), reverse=True)
        places = {score: 1 + sum(other > score for other in self.scores.values()) for score in ordered}
        return {one: places[score] for one, score in self.scores.items() if score > 0}


def fused(legs: Sequence[LegScores], kind: FusionKind, *, least: float | None, most: int) -> list[tuple[int, float]]:
    """Return passages with their joint score from 0 to 1, the best first.

    Args:
        least: passages below are left out, once, here and nowhere else; 0 is a threshold too (what has 0 stays, since
            it is not below), None is none. most: passages.
    """
    total = sum(leg.weight for leg in legs)
    if not total:
        return []
    if kind == "rank":
        # divided by what a first place in every search gets, so that a threshold means the same for both kinds
        ranked = [(leg.weight, leg.ranks()) for leg in legs]
        joint = {
            one: sum(
                weight * (_RANK_CONSTANT + 1) / (_RANK_CONSTANT + ranks[one])
                for weight, ranks in ranked
                if one in ranks
            )
            / total
            for one in _all(legs)
        }
    else:
        joint = {one: sum(leg.weight * leg.scores.get(one, 0.0) for leg in legs) / total for one in _all(legs)}
    kept = [(one, score) for one, score in joint.items() if least is None or score >= least]
    # the id last, so that the order is the same each time
    return sorted(kept, key=lambda pair: (-pair[1], pair[0]))[:most]


def _all(legs: Sequence[LegScores]) -> list[int]:
    return sorted({one for leg in legs for one in leg.scores})
