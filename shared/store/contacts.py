"""People of a company, over all connections: listed, changed, merged and split by hand; typed functions for
`queries/contacts.sql`. Which ids name one person is learned in `people.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Any, Final

from shared.store.pool import Row, Transaction, json, records

ALIASES_MOST: Final = 200
"""Ids of one person at most: a merge that would make more is refused, since each list reads them all."""


def see(transaction: Transaction, ids: Sequence[int]) -> None:
    """Record the people of messages with these ids; idempotent."""
    if ids:
        transaction.execute("see_people", ids=list(ids))


def find(transaction: Transaction, company_id: str, *, person_id: int | None, alias: str) -> int | None:
    """Return the id of a person, by itself or by an alias; None: there is none."""
    row = transaction.row("person_of", company_id=company_id, id=person_id, alias=alias)
    return None if row is None else int(row["id"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """What is known about one person.

    Attributes:
        row: of `people`. aliases: every id. marketing: (phone_index, wants_marketing, marketing_at) of what the person
            said to connections. merges: (id, other_id, aliases, merged_at) that can be undone, newest first.
    """

    row: Row
    aliases: Sequence[str]
    marketing: Sequence[Row]
    merges: Sequence[Row]


def page(transaction: Transaction, company_id: str, *, after: int, most: int) -> list[int]:
    """Return ids of people, beyond `after`."""
    rows = transaction.rows("people_page", company_id=company_id, after=after, most=most)
    return [row["id"] for row in rows]


def found(
    transaction: Transaction,
    *,
    after: int,
    most: int,
    words: str | None,
    number: str,
    tag: str | None,
) -> list[int]:
    """As `page`, of the transaction's company. `words`: only those with any of them in a name, or with a number that
    begins with `number` (empty: none does). `tag`: only those with it.
    """
    rows = transaction.rows(
        "people_found",
        after=after,
        words=words,
        number=f"{number}%" if number else None,
        tag=tag,
        most=most,
    )
    return [row["id"] for row in rows]


def by_ids(transaction: Transaction, company_id: str, ids: Sequence[int]) -> list[Person]:
    """Return people by id; those that no longer exist are left out."""
    return _whole(transaction, company_id, transaction.rows("people_by_id", company_id=company_id, ids=list(ids)))


def _whole(transaction: Transaction, company_id: str, rows: Sequence[Row]) -> list[Person]:
    if not rows:
        return []
    asked = {"company_id": company_id, "ids": [row["id"] for row in rows]}
    aliases: dict[int, list[str]] = {}
    for row in transaction.rows("aliases_of", **asked):
        aliases.setdefault(row["person_id"], []).append(row["alias"])
    marketing: dict[int, list[Row]] = {}
    for row in transaction.rows("marketing_of", **asked):
        marketing.setdefault(row["person_id"], []).append(row)
    merges: dict[int, list[Row]] = {}
    for row in transaction.rows("merges_of", **asked):
        merges.setdefault(row["kept_id"], []).append(row)
    return [
        Person(
            row=row,
            aliases=aliases.get(row["id"], ()),
            marketing=marketing.get(row["id"], ()),
            merges=merges.get(row["id"], ()),
        )
        for row in rows
    ]


class ChangeRefused(Exception):
    """Raised when a change of people cannot be made; its text is the reason, in a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """What a company notes about a person; None: as it is.

    Attributes:
        fields: of them those that are named are changed; one that is None is removed.
    """

    name: str | None = None
    tags: Sequence[str] | None = None
    fields: Mapping[str, Any] | None = None


FIELDS_MOST: Final = 50
"""Custom fields of one person."""


def change(transaction: Transaction, company_id: str, person_id: int, noted: Noted) -> Sequence[str] | None:
    """Change a company's notes about a person. Return the names of the changed fields; None: there is no such person.
    Raises `ChangeRefused`.
    """
    rows = transaction.rows("lock_people", company_id=company_id, ids=[person_id])
    if not rows:
        return None
    new = _with(rows[0], noted)
    changed = _different(rows[0], new)
    if changed:
        _write(transaction, company_id, person_id, new)
        _note(transaction, "updated", company_id, person_id, _changes(changed))
    return changed


def _with(row: Row, noted: Noted) -> dict[str, Any]:
    """Return what is known about a person after a change. Raises `ChangeRefused`."""
    fields = {**row["fields"], **(noted.fields or {})}
    fields = {name: value for name, value in fields.items() if value is not None}
    if len(fields) > FIELDS_MOST:
        raise ChangeRefused(f"A person has at most {FIELDS_MOST} custom fields.")
    return {
        "profile_name": row["profile_name"],
        "username": row["username"],
        "name": row["name"] if noted.name is None else noted.name,
        "tags": row["tags"] if noted.tags is None else list(dict.fromkeys(noted.tags)),
        "fields": fields,
    }


def _different(row: Row, new: Mapping[str, Any]) -> list[str]:
    return [name for name in new if new[name] != row[name]]


def _changes(changed: Sequence[str]) -> Mapping[str, Any]:
    return {"changed": [_PUBLIC[name] for name in changed]}


def merge(transaction: Transaction, company_id: str, kept_id: int, other_id: int) -> int | None:
    """Make one person of two: the other's ids become the kept one's. Return the merge's id, by which it is undone;
    None: one of them is not there. Raises `ChangeRefused`.
    """
    _lock_aliases(transaction, company_id, kept_id, other_id)
    rows = {row["id"]: row for row in transaction.rows("lock_people", company_id=company_id, ids=[kept_id, other_id])}
    if len({kept_id, other_id}) < 2:
        raise ChangeRefused("A person cannot be merged with itself.")
    if len(rows) < 2:
        return None
    if len(transaction.rows("aliases_of", company_id=company_id, ids=[kept_id, other_id])) > ALIASES_MOST:
        raise ChangeRefused(f"A person has at most {ALIASES_MOST} ids.")
    row = transaction.one(
        "add_merge",
        company_id=company_id,
        kept_id=kept_id,
        other_id=other_id,
        kept=json(_kept(rows[kept_id])),
        other=json(_kept(rows[other_id])),
    )
    earlier = [merge["id"] for merge in transaction.rows("merges_of", company_id=company_id, ids=[other_id])]
    transaction.execute("move_aliases", company_id=company_id, from_id=other_id, to_id=kept_id, aliases=None)
    transaction.execute("fold_people", company_id=company_id, kept_id=kept_id, other_id=other_id)
    # undone in the opposite order: what each is without the other is known only then
    transaction.execute("keep_merges", company_id=company_id, kept_id=other_id, ids=earlier)
    facts = {"otherContactId": f"p{other_id}", "mergeId": str(row["id"])}
    _note(transaction, "merged", company_id, kept_id, facts, code="by_hand")
    return int(row["id"])


def undo_merge(transaction: Transaction, company_id: str, kept_id: int, merge_id: int) -> int | None:
    """Undo a merge: the other person has its ids, names, tags, fields and merges again, and the kept one is without
    what it got by the merge, unless that was changed since. Return the other's id; None: there is no such merge.
    """
    _lock_aliases(transaction, company_id, kept_id)
    rows = transaction.rows("lock_people", company_id=company_id, ids=[kept_id])
    taken = transaction.row("take_merge", company_id=company_id, kept_id=kept_id, merge_id=merge_id)
    if not rows or taken is None:
        return None
    before, other, now = taken["kept"], taken["other"], rows[0]
    transaction.execute("add_person", company_id=company_id, id=taken["other_id"], **_columns(other))
    transaction.execute(
        "move_aliases",
        company_id=company_id,
        from_id=kept_id,
        to_id=taken["other_id"],
        aliases=taken["aliases"],
    )
    gained = {name: value for name, value in other["fields"].items() if name not in before["fields"]}
    _write(
        transaction,
        company_id,
        kept_id,
        {
            **{
                name: "" if not before[name] and now[name] == other[name] else now[name]
                for name in ("name", "profile_name", "username")
            },
            "tags": [tag for tag in now["tags"] if tag in before["tags"] or tag not in other["tags"]],
            "fields": {
                name: value for name, value in now["fields"].items() if name not in gained or value != gained[name]
            },
        },
    )
    _note_split(transaction, company_id, kept_id, taken["other_id"])
    return int(taken["other_id"])


def split(transaction: Transaction, company_id: str, person_id: int, aliases: Sequence[str]) -> int | None:
    """Make a new person of some ids of one. Return its id; None: there is no such person. Raises `ChangeRefused`."""
    _lock_aliases(transaction, company_id, person_id)
    if not transaction.rows("lock_people", company_id=company_id, ids=[person_id]):
        return None
    known = {row["alias"] for row in transaction.rows("aliases_of", company_id=company_id, ids=[person_id])}
    moving = set(aliases)
    if not moving < known:
        raise ChangeRefused("The ids must be some of the person's, and not all.")
    nothing = {"name": "", "profile_name": "", "username": "", "tags": [], "fields": {}}
    new_id = int(transaction.one("add_person", company_id=company_id, id=None, **_columns(nothing))["id"])
    transaction.execute("move_aliases", company_id=company_id, from_id=person_id, to_id=new_id, aliases=sorted(moving))
    _note_split(transaction, company_id, person_id, new_id)
    return new_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """One person of a file. `alias`: canonical id, `noted`: what is written there."""

    alias: str
    noted: Noted


class Taken(StrEnum):
    """What was done with a person of a file."""

    CREATED = auto()
    UPDATED = auto()
    UNCHANGED = auto()


def take_in(transaction: Transaction, company_id: str, people: Sequence[Imported]) -> list[Taken | ChangeRefused]:
    """Write people of a file: new ones, and changes of known ones. Return for each what was done, or why it cannot be
    changed.

    A few statements, whatever the number of people: they are read and locked, compared here, and written together.
    """
    if not people:
        return []
    # until the commit no id that is known becomes another person's
    transaction.execute("lock_aliases", company_id=company_id)
    batch = _Batch(_people_named(transaction, company_id, [one.alias for one in people]), people)
    new = records([{"id": person_id, **values} for person_id, values in batch.first.items()])
    made = {row["id"] for row in transaction.rows("add_people", company_id=company_id, people=new)}
    there = list(batch.first.keys() - made)
    rows = transaction.rows("people_by_id", company_id=company_id, ids=there) if there else ()
    outcomes = batch.compare(made, {row["id"]: row for row in rows})
    if batch.changed:
        columns = [
            {"id": person_id, **{name: batch.rows[person_id][name] for name in _PUBLIC}} for person_id in batch.changed
        ]
        transaction.execute("change_people", company_id=company_id, ids=list(batch.changed), people=records(columns))
    _note_all(transaction, company_id, batch.notes)
    return outcomes


def _people_named(transaction: Transaction, company_id: str, aliases: Sequence[str]) -> dict[str, int]:
    """Return whose each id is; of one that is new, a number for a new person."""
    asked = list(dict.fromkeys(aliases))
    known = transaction.rows("people_of_aliases", company_id=company_id, aliases=asked)
    named = {row["alias"]: int(row["person_id"]) for row in known}
    if unknown := [alias for alias in asked if alias not in named]:
        claimed = transaction.rows("claim_aliases", company_id=company_id, aliases=unknown)
        named |= {row["alias"]: int(row["person_id"]) for row in claimed}
    return named


class _Batch:
    """People of a file that are written together.

    Attributes:
        first: by person, what the first line about each says, should the person be new. rows: what is known about each,
            after the lines so far. changed: those that are different from what is stored. notes: events to write.
    """

    def __init__(self, ids: Mapping[str, int], people: Sequence[Imported]) -> None:
        self._lines = [(ids[one.alias], one) for one in people]
        self.first: dict[int, dict[str, Any]] = {}
        for person_id, one in self._lines:
            if person_id not in self.first:
                self.first[person_id] = _columns_of_new(one.noted)
        self.rows: dict[int, Mapping[str, Any]] = {}
        self.changed: dict[int, None] = {}
        self.notes: list[dict[str, Any]] = []

    def compare(self, made: Collection[int], there: Mapping[int, Row]) -> list[Taken | ChangeRefused]:
        """Return what is to be done with each line. `made`: people that are new; `there`: rows of the others."""
        self.rows = dict(there)
        return [self._take(made, person_id, one) for person_id, one in self._lines]

    def _take(self, made: Collection[int], person_id: int, one: Imported) -> Taken | ChangeRefused:
        row = self.rows.get(person_id)
        if row is None and person_id in made:
            # a further line about the same person changes what this one made
            self.rows[person_id] = {"profile_name": "", "username": "", **self.first[person_id]}
            self.notes.append(_noted("created", person_id, {}))
            return Taken.CREATED
        if row is None:
            raise LookupError("a person that was locked is gone")
        try:
            new = _with(row, _without_profiles_name(row, one.noted))
        # refused before anything was written: it stops no other
        except ChangeRefused as error:
            return error
        if not (changed := _different(row, new)):
            return Taken.UNCHANGED
        self.rows[person_id] = {**row, **new}
        self.changed[person_id] = None
        self.notes.append(_noted("updated", person_id, _changes(changed)))
        return Taken.UPDATED


def _columns_of_new(noted: Noted) -> dict[str, Any]:
    return {
        "name": noted.name or "",
        "tags": list(dict.fromkeys(noted.tags or ())),
        "fields": {name: value for name, value in (noted.fields or {}).items() if value is not None},
    }


def _without_profiles_name(row: Row, noted: Noted) -> Noted:
    # a file has one name: that of the profile, exported where the company has given none, is not one that it gives
    return replace(noted, name=None) if not row["name"] and noted.name == row["profile_name"] else noted


def _lock_aliases(transaction: Transaction, company_id: str, *people: int) -> None:
    """Keep the ids of people from being given to others, before their own rows are locked: in one order everywhere."""
    transaction.execute("lock_aliases", company_id=company_id)
    transaction.execute("lock_aliases_of", company_id=company_id, ids=list(people))


_PUBLIC: Final = {"name": "name", "tags": "tags", "fields": "customFields"}


_SEEN: Final = ("first_seen_at", "last_seen_at")


def _kept(row: Row) -> dict[str, Any]:
    known = {name: row[name] for name in ("name", "profile_name", "username", "tags", "fields")}
    return known | {name: row[name].isoformat() for name in _SEEN}


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(_SEEN), **values, "fields": json(dict(values["fields"]))}


def _write(transaction: Transaction, company_id: str, person_id: int, values: Mapping[str, Any]) -> None:
    transaction.execute("change_person", company_id=company_id, id=person_id, **_columns(values))


def _note(
    transaction: Transaction, what: str, company_id: str, person_id: int, facts: Mapping[str, Any], *, code: str = ""
) -> None:
    _note_all(transaction, company_id, [_noted(what, person_id, facts, code=code)])


def _noted(what: str, person_id: int, facts: Mapping[str, Any], *, code: str = "") -> dict[str, Any]:
    return {"type": f"contact.{what}", "id": person_id, "code": code or None, "data": dict(facts)}


def _note_all(transaction: Transaction, company_id: str, notes: Sequence[Mapping[str, Any]]) -> None:
    if notes:
        placed = records([{"place": place, **note} for place, note in enumerate(notes)])
        transaction.execute("note_contacts", company_id=company_id, notes=placed)


def _note_split(transaction: Transaction, company_id: str, kept_id: int, other_id: int) -> None:
    _note(transaction, "split", company_id, kept_id, {"otherContactId": f"p{other_id}"}, code="by_hand")
