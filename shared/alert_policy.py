"""When alerts fire and end: a pure function over figures and time, by the table `shared.alert_rules`.

It follows Prometheus: a condition must hold for `for_s` before an alert fires and be gone for `keep_s` before it ends,
and the rise of a counter is the sum of its steps up, where a step down is a new process that began at 0. Other than
there, a series that appears in a slot that is known already rose from 0.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, TypeAlias

from shared.alert_rules import ALERT_RULES, AlertRule, Measure

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in the order of the rule's `by`."""
AlertKey: TypeAlias = tuple[str, Labels]
"""Name of the rule, and what the alert is about."""
Figures: TypeAlias = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Values by the full name of their metric."""

_PREFIX: Final = "bulkhead_"


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An alert fired (`is_on`) or ended. `value`: what was measured last while it was on."""

    rule: AlertRule
    labels: Mapping[str, str]
    is_on: bool
    value: float

    @property
    def summary(self) -> str:
        """Its sentence."""
        return self.rule.said(self.labels, self.value)


@dataclass(slots=True)
class _Condition:
    """One rule about one thing. Instants are those of `AlertPolicy.step`."""

    since: float
    last: float
    value: float
    is_on: bool = False


class AlertPolicy:
    """Decides which alerts are on.

    Args:
        rules: the table. factor: by which every `for_s` and `keep_s` is multiplied.
    """

    def __init__(self, rules: Iterable[AlertRule] = ALERT_RULES, *, factor: float = 1.0) -> None:
        self._rules, self._factor = tuple(rules), factor
        self._conditions: dict[AlertKey, _Condition] = {}
        # slots of which figures were seen; '': any
        self._slots: set[str] = set()
        self._rises = {rule.measure.metric: _Rises(rule.measure.within_s) for rule in self._rules
                       if rule.measure.within_s}  # fmt: skip
        for rule in self._rules:
            # two rules may watch one counter for different times
            if rises := self._rises.get(rule.measure.metric):
                rises.kept_s = max(rises.kept_s, rule.measure.within_s)

    def resume(self, on: Iterable[tuple[AlertKey, float]], now: float) -> None:
        """Take over alerts that an earlier life left on, with their last values; they end like any other."""
        for key, value in on:
            self._conditions.setdefault(key, _Condition(now, now, value)).is_on = True

    @property
    def on(self) -> frozenset[AlertKey]:
        """The alerts that are on."""
        return frozenset(key for key, condition in self._conditions.items() if condition.is_on)

    def counts(self) -> Mapping[str, int]:
        """Return how many alerts of each rule are on."""
        return Counter(name for name, _ in self.on)

    def severities(self) -> Mapping[str, str]:
        """Return the severity of each rule."""
        return {rule.name: rule.severity for rule in self._rules}

    def step(self, figures: Figures, now: float) -> list[AlertChange]:
        """Return what changed.

        Args:
            figures: as they are now. now: any clock that only goes forward, in seconds.
        """
        for metric, rises in self._rises.items():
            rises.add(figures.get(f"{_PREFIX}{metric}", ()), now, self._slots)
        self._slots.update(labels.get("slot", "") for values in figures.values() for labels, _ in values)
        changes: list[AlertChange] = []
        for rule in self._rules:
            found = self._measured(rule, figures, now)
            for labels, value in found.items():
                if rule.is_beyond(value):
                    condition = self._conditions.setdefault((rule.name, labels), _Condition(now, now, value))
                    condition.last, condition.value = now, value
        for (name, labels), condition in [*self._conditions.items()]:
            changes += self._judge(name, labels, condition, now)
        return changes

    def _judge(self, name: str, labels: Labels, condition: _Condition, now: float) -> Iterable[AlertChange]:
        rule = next((one for one in self._rules if one.name == name), None)
        if rule is None:
            # an alert of an earlier version whose rule no longer exists
            del self._conditions[name, labels]
            return
        holds = condition.last == now
        if not condition.is_on:
            if not holds:
                del self._conditions[name, labels]
            elif now - condition.since >= rule.for_s * self._factor:
                condition.is_on = True
                yield AlertChange(rule, dict(labels), is_on=True, value=condition.value)
        elif not holds and now - condition.last >= rule.keep_s * self._factor:
            del self._conditions[name, labels]
            yield AlertChange(rule, dict(labels), is_on=False, value=condition.value)

    def _measured(self, rule: AlertRule, figures: Figures, now: float) -> Mapping[Labels, float]:
        measure = rule.measure
        if measure.within_s:
            values = self._rises[measure.metric].within(measure.within_s, now)
        else:
            values = list(figures.get(f"{_PREFIX}{measure.metric}", ()))
        found = _grouped(rule, values)
        if measure.divided_by:
            limits = _grouped(rule, figures.get(f"{_PREFIX}{measure.divided_by}", ()))
            found = {labels: value / limits[labels] for labels, value in found.items() if limits.get(labels)}
        return found


class _Rises:
    """How much the series of one counter rose. `kept_s`: for how long steps are kept."""

    def __init__(self, kept_s: float) -> None:
        self.kept_s = kept_s
        self._last: dict[frozenset[tuple[str, str]], float] = {}
        self._steps: deque[tuple[float, Mapping[str, str], float]] = deque()

    def add(self, values: Iterable[tuple[Mapping[str, str], float]], now: float, slots: Set[str]) -> None:
        """Take over the values of all series. `slots`: those of which figures were seen before."""
        seen: dict[frozenset[tuple[str, str]], float] = {}
        for labels, value in values:
            key = frozenset(labels.items())
            seen[key] = value
            last = self._last.get(key)
            if last is None:
                # A counter with labels is born with its first value: in a slot that was seen without it, that rose just
                # now. What a slot had when it was first seen did not.
                last = 0.0 if labels.get("slot", "") in slots else value
            step = value - last if value >= last else value
            if step:
                self._steps.append((now, labels, step))
        # A series that is missing for a moment is remembered: after a restart its process counts from a lower value.
        self._last.update(seen)
        while self._steps and self._steps[0][0] <= now - self.kept_s:
            self._steps.popleft()

    def within(self, within_s: float, now: float) -> list[tuple[Mapping[str, str], float]]:
        """Return the steps of the last seconds."""
        return [(labels, step) for at, labels, step in self._steps if at > now - within_s]


def _grouped(rule: AlertRule, values: Iterable[tuple[Mapping[str, str], float]]) -> dict[Labels, float]:
    measure: Measure = rule.measure
    adds = measure.adds or measure.within_s > 0
    found: dict[Labels, float] = {}
    for labels, value in values:
        if any(labels.get(name) != expected for name, expected in measure.where.items()):
            continue
        key = tuple((name, labels.get(name, "")) for name in measure.by)
        if key not in found:
            found[key] = value
        elif adds:
            found[key] += value
        else:
            found[key] = max(found[key], value) if rule.above is not None else min(found[key], value)
    return found
