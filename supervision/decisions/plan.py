"""What should run, and in which order it starts and stops; pure, over the registry's rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shared.errors import BulkheadError
from shared.kinds import ProcessKind, admin_port
from shared.needs import NEEDS, need_of
from shared.settings import Settings, visible_fields


class RegistryInvalid(BulkheadError):
    """Raised when the rows contradict each other: a name twice, an unknown predecessor, or a cycle of predecessors."""


class KindUnknown(BulkheadError):
    """Raised when an operator names a kind or a slot that the registry does not have."""


def check(rows: Sequence[ProcessKind]) -> None:
    """Raise `RegistryInvalid` unless every predecessor, need and setting exists, no two slots share a port, and the
    order of start has no cycle.
    """
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise RegistryInvalid(f"a kind is listed twice: {', '.join(names)}")
    unknown = sorted({before for row in rows for before in row.after if before not in names})
    if unknown:
        raise RegistryInvalid(f"started after kinds that do not exist: {', '.join(unknown)}")
    if needs := sorted({row.needed for row in rows} - NEEDS.keys()):
        raise RegistryInvalid(f"needs that do not exist: {', '.join(needs)}; known: {', '.join(NEEDS)}")
    ports: dict[int, str] = {}
    for row in rows:
        for instance in range(row.instances_most):
            slot = f"{row.name}-{instance}"
            # Compared without the base port, which moves all of them alike.
            if (twin := ports.setdefault(admin_port(0, row, instance), slot)) != slot:
                raise RegistryInvalid(
                    f"{slot} has the admin port of {twin}; give {row.name} an admin_offset of its own"
                )
        try:
            visible_fields(row)
        except ValueError as problem:
            raise RegistryInvalid(str(problem)) from None
    # Raises for a cycle, which would never start.
    start_order(rows)


def start_order(rows: Sequence[ProcessKind]) -> tuple[str, ...]:
    """Return the kinds' names so that each comes after its predecessors, otherwise as the registry lists them."""
    placed: list[str] = []
    waiting = list(rows)
    while waiting:
        # Kahn's algorithm, by whole layers; within a layer the registry's order holds.
        able = [row for row in waiting if all(before in placed for before in row.after)]
        if not able:
            raise RegistryInvalid(f"these wait for each other: {', '.join(row.name for row in waiting)}")
        placed += [row.name for row in able]
        waiting = [row for row in waiting if row not in able]
    return tuple(placed)


def followers(rows: Sequence[ProcessKind], kind: str) -> frozenset[str]:
    """Return the kinds that were started after `kind`, directly or not: they are stopped before it."""
    found: set[str] = set()
    new = {kind}
    while new:
        new = {row.name for row in rows if new & set(row.after)} - found
        # Transitive: what was started after a follower is stopped before it as well.
        found |= new
    return frozenset(found)


def predecessors_of(rows: Sequence[ProcessKind], kinds: Iterable[str]) -> frozenset[str]:
    """Return the kinds that `kinds` are started after, directly or not."""
    after = {row.name: set(row.after) for row in rows}
    found: set[str] = set()
    new = set(kinds)
    while new:
        new = set().union(*(after[name] for name in new)) - found
        found |= new
    return frozenset(found)


def desired_slots(rows: Sequence[ProcessKind], settings: Settings) -> dict[str, int]:
    """Return how many slots each kind may have; 0: it is not run at all.

    Kinds that depend on rows count as if the rows existed: the recorder reports whether they do.

    Args:
        rows: the registry, with the operator's values.
        settings: the operator's; `only` keeps the named kinds and those that they are started after.
    Raises:
        KindUnknown: `only` names a kind that is not in the registry.
    """
    only = frozenset(name.strip() for name in settings.only.split(",") if name.strip())
    unknown = only - {row.name for row in rows}
    if unknown:
        raise KindUnknown(
            f"ONLY={settings.only} names unknown kinds: {', '.join(sorted(unknown))}; known: "
            f"{', '.join(row.name for row in rows)}"
        )
    # ONLY without the predecessors would start a kind that waits for what never comes.
    allowed = only | predecessors_of(rows, only) if only else {row.name for row in rows}
    return {row.name: row.instances if row.name in allowed and need_of(row).allowed(settings) else 0 for row in rows}


def select(slots: Iterable[str], target: str, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the slots that `target` names: a slot (`meta-0`), a kind (`meta`), or all of them (empty).

    Raises:
        KindUnknown: nothing has that name.
    """
    known = tuple(slots)
    if not target:
        return known
    # The kind's name may contain hyphens, the number after the last one does not.
    chosen = tuple(slot for slot in known if target in (slot, slot.rsplit("-", 1)[0]))
    if not chosen:
        raise KindUnknown(f"no kind or slot {target!r}; kinds: {', '.join(counts)}; slots: {', '.join(known)}")
    return chosen
