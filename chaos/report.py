"""The outcome of a run, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chaos.hook_judge import HookResult
from chaos.run import HostsResult, Outcome

_NAMED: Final = 10
"""Most messages named in a row of the table; the JSON names all."""


def as_json(outcome: Outcome, **about: Any) -> dict[str, Any]:
    """Return everything; `about`: the parameters of the run."""
    result = outcome.result
    return {
        **about,
        "seconds": round(outcome.seconds, 1),
        "faults": {
            "all": outcome.faults,
            "done": dict(outcome.done),
            "left_out": dict(outcome.left_out),
            "at_provider": dict(outcome.at_provider),
            "at_subscribers": dict(outcome.at_subscribers),
            "crash_points": dict(outcome.crash_points),
        },
        "asked": outcome.asked,
        "asked_again": dict(outcome.again),
        "accepted": result.accepted,
        "arrived": result.arrived,
        "arrived_without_answer": result.unasked,
        **{name: dict(found) for name, found in result.faults.items()},
        "histories": {
            text: [f"{step.state} {step.attempt} {step.code}".strip() for step in outcome.reported[text].history]
            for text in sorted({text for found in result.faults.values() for text in found})
            if text in outcome.reported
        },
        "followed_up": dict(outcome.followed_up),
        "held": dict(result.held),
        "behind_held": list(result.behind),
        "parked": list(result.parked),
        "in_doubt_but_arrived": dict(result.in_doubt),
        "settled": outcome.settled,
        "settle_s": round(outcome.settle_s, 2),
        "recoveries": [
            {"target": kill.target, "at": kill.at, "seconds": round(seconds, 3)} for kill, seconds in result.recoveries
        ],
        "hooks": None
        if outcome.hooks is None
        else {
            "subscribers": outcome.hooks.subscribers,
            "deliveries": outcome.hooks.deliveries,
            "events": outcome.hooks.events,
            **{name: dict(found) for name, found in outcome.hooks.faults.items()},
        },
        "hosts_away": None
        if outcome.hosts is None
        else {
            "reclaimed_s": [round(seconds, 2) for seconds in outcome.hosts.reclaimed_s],
            "held": outcome.hosts.held,
            "kept": outcome.hosts.kept,
            "moved_s": [round(seconds, 2) for seconds in outcome.hosts.moved_s],
            "fenced": outcome.hosts.fenced,
        },
        "clean": outcome.is_clean,
    }


def table(outcome: Outcome) -> str:
    """Return the outcome as a table."""
    result = outcome.result
    sends, points = sum(outcome.at_provider.values()), sum(outcome.crash_points.values())
    answers = sum(outcome.at_subscribers.values())
    rest = f"{outcome.faults - sends - points - answers} others, {sum(outcome.left_out.values())} left out: target away"
    rows: list[tuple[str, object, str]] = [
        (
            "faults",
            outcome.faults,
            f"{sends} answers and webhooks of the provider that were not as they should be, {answers} bad answers of "
            f"subscribers, {points} at crash points, {rest}",
        ),
        ("requests", outcome.asked, _again(outcome.again)),
        ("accepted", result.accepted, f"in {outcome.seconds:.0f} s"),
        (
            "arrived",
            result.arrived,
            f"{result.unasked} of them before the client had an answer" if result.unasked else "",
        ),
        *(
            (name, len(found), _some(f"{text} ({why})" if why else text for text, why in found.items()))
            for name, found in result.faults.items()
        ),
        ("held for a human", len(result.held), _some(f"{text} ({code})" for text, code in result.held.items())),
        ("waiting behind one", len(result.behind), _some(result.behind)),
        # shown, but not a fault: a row whose processes died twice is parked by design
        ("parked as poison", len(result.parked), _some(result.parked)),
        ("arrived, in doubt", len(result.in_doubt), _some(result.in_doubt)),
        ("followed up", sum(outcome.followed_up.values()), _counts(outcome.followed_up)),
        ("settled", "yes" if outcome.settled else "NO", f"{outcome.settle_s:.1f} s after the last fault"),
        *([] if outcome.hooks is None else _hooks(outcome.hooks)),
        *([] if outcome.hosts is None else _hosts(outcome.hosts)),
        ("sender kills", len(result.recoveries), _recoveries([seconds for _, seconds in result.recoveries])),
    ]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:<{width}}  {value!s:>7}  {words}".rstrip() for name, value, words in rows]
    return "\n".join(
        [
            *_faults(outcome.done),
            *_faults(
                {f"single: {name}": count for name, count in {**outcome.at_provider, **outcome.at_subscribers}.items()}
            ),
            "",
            *lines,
            "",
            f"result: {'clean' if outcome.is_clean else 'NOT CLEAN'}",
        ]
    )


def _hooks(found: HookResult) -> list[tuple[str, object, str]]:
    repeated = f"to {found.subscribers} subscribers, {found.deliveries - found.events} of them repetitions"
    return [
        ("webhooks", found.deliveries, repeated),
        *(
            (f"webhooks {name}", len(broken), _some(f"{event} ({why})" for event, why in broken.items()))
            for name, broken in found.faults.items()
        ),
    ]


def _hosts(found: HostsResult) -> list[tuple[str, object, str]]:
    return [
        ("hosts away", len(found.reclaimed_s) + found.kept, _reclaims(found)),
        ("sessions moved", len(found.moved_s), _moves(found.moved_s)),
        ("lives fenced", found.fenced, "that came back after another host had taken their work"),
    ]


def _faults(done: Mapping[str, int]) -> list[str]:
    return [f"{count:>5}  {name}" for name, count in sorted(done.items(), key=lambda pair: (-pair[1], pair[0]))]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ×{count}" for name, count in sorted(counts.items()))


def _again(reasons: Mapping[str, int]) -> str:
    return f"{sum(reasons.values())} repeated with the same key: {_counts(reasons)}" if reasons else ""


def _some(names: Iterable[str]) -> str:
    named = list(names)
    return "; ".join(named[:_NAMED]) + (f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else "")


def _reclaims(found: HostsResult) -> str:
    seconds, back = found.reclaimed_s, f"{found.kept} came back before that" if found.kept else ""
    if not seconds:
        return back
    return (
        f"nothing of {found.held} messages in hand after their lease's end: median {statistics.median(seconds):.1f} s, "
        f"longest {max(seconds):.1f} s{'; ' if back else ''}{back}"
    )


def _moves(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    return (
        f"ready on another host after the loss of theirs: median {statistics.median(seconds):.1f} s, longest "
        f"{max(seconds):.1f} s"
    )


def _recoveries(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    ordered = sorted(seconds)
    return (
        f"last message accepted before the kill arrived after: median {statistics.median(ordered):.2f} s, longest "
        f"{ordered[-1]:.2f} s"
    )
