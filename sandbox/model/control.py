"""The control API's calls about the model: show, arm and disarm its behaviours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sandbox.model.script import BEHAVIOURS, FUZZ, ModelScript

_NUMBER: Final = (int, float)
BEHAVIOUR: Final[Mapping[str, type | tuple[type, ...]]] = {
    "behaviour": str,
    "count": (int, type(None)),
    "probability": _NUMBER,
    "contains": str,
    "results": (int, type(None)),
    "model": str,
    "text": str,
    "calls": list,
    "usage": (dict, type(None)),
    "latency_ms": _NUMBER,
    "retry_after_s": _NUMBER,
    "http_status": int,
}
"""Fields of the call that arms one, with their types."""


def shown(script: ModelScript) -> dict[str, Any]:
    """Return what is armed, and which behaviours there are."""
    return {
        "armed": [asdict(one) for one in script.armed()],
        "known": {**BEHAVIOURS, FUZZ: "a random one of the others that are unwanted"},
    }


def arm(script: ModelScript, body: Mapping[str, Any]) -> dict[str, Any]:
    """Arm a behaviour. Raises `ValueError` with a sentence for the tester."""
    details = dict(body)
    # the API's names differ from those of `Behaviour`, `name` and `left`
    name, left = details.pop("behaviour"), details.pop("count", 1)
    if name not in BEHAVIOURS and name != FUZZ:
        raise ValueError(f"behaviour: one of {', '.join((*BEHAVIOURS, FUZZ))}")
    if left is not None and left < 1:
        raise ValueError("count: 1 or more, or null for as long as it is armed")
    if not 0 < details.get("probability", 1) <= 1:
        raise ValueError("probability: above 0, at most 1")
    if details.get("http_status", 500) not in range(400, 600):
        raise ValueError("http_status: from 400 to 599")
    if not all(0 <= details.get(field, 0) < 1e9 for field in ("latency_ms", "retry_after_s")):
        raise ValueError("latency_ms, retry_after_s: 0 or more")
    if not all(isinstance(call, dict) for call in details.get("calls", ())):
        raise ValueError("calls: a list of {name, arguments}")
    return asdict(script.arm(name, left=left, **details))
