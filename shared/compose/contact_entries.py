"""What a company may note about a contact, by a body or by a line of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from shared import contact_files
from shared.channels import chat_ids
from shared.channels.chat_ids import ChatIdForm
from shared.contact_files import Entry, FileUnreadable
from shared.fields import Field, FieldsInvalid, checked, pointer
from shared.store import contacts
from shared.store.contacts import Imported, Noted

IMPORT: Final = "import_contacts"
"""Operation of the task; kind `recorder` carries it out."""
FILE_BYTES: Final = 16 << 20
"""Most bytes of a file to import, which is held in memory here."""
CONTACTS_MOST: Final = 100_000
"""Contacts of one file: an import of that many takes some minutes."""
FORMATS: Final = ("csv", "vcard")
BATCH: Final = 500
"""Contacts of one transaction, which holds the company's lock: about a tenth of a second, and a commit for many."""
_TAGS_MOST: Final = 50
LONGEST_TAG: Final = 50
_LONGEST_NAME: Final = 200
_FIELDS_BYTES: Final = 16384
"""Bytes of a person's custom fields as JSON."""
CHANGES: Final = (
    Field(
        name="name", kind=str, longest=_LONGEST_NAME, purpose="What the company calls it; empty: the profile's name."
    ),
    Field(
        name="tags",
        kind=list,
        items=Field(kind=str, shortest=1, longest=LONGEST_TAG),
        most=_TAGS_MOST,
        purpose="All of its tags, in place of those before.",
    ),
    Field(
        name="customFields",
        kind=dict,
        purpose="Texts, numbers and booleans by name; those that are not named stay, null removes one.",
        documented=(
            ("maxProperties", contacts.FIELDS_MOST),
            ("propertyNames", {"minLength": 1, "maxLength": 60}),
            ("additionalProperties", {"type": ["string", "number", "boolean", "null"], "maxLength": 1000}),
        ),
    ),
)
_PERSONS: Final = frozenset({ChatIdForm.PHONE, ChatIdForm.LID, ChatIdForm.BUSINESS_SCOPED, ChatIdForm.NUMERIC})
_PLACE: Final = 80
"""Characters of the name of a field that an error shows: in a file it may be as long as the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LineProblem:
    """What is wrong with a contact of a file, without any value of it, which may be a number.

    Attributes:
        line: where the contact begins, from 1. column: the field; empty: the whole line. reason: what is wrong, and
            what to do.
    """

    line: int
    column: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A contact of a file that can be taken, and the line at which it begins."""

    line: int
    person: Imported


def read_entries(content: bytes, form: str) -> Iterator[Entry]:
    """Yield the contacts of a file of one of `FORMATS`. Raises `FileUnreadable` as soon as it is found."""
    lines = contact_files.decoded(content)
    return contact_files.read_csv(lines) if form == "csv" else contact_files.read_vcards(lines)


def count_entries(content: bytes, form: str) -> int:
    """Return how many contacts a file has. Raises `FileUnreadable`, also when they are too many."""
    number = sum(1 for _ in read_entries(content, form))
    if number > CONTACTS_MOST:
        raise FileUnreadable(f"The file has {number:,} contacts, and may have {CONTACTS_MOST:,}: divide it.")
    return number


def next_lines(entries: Iterator[Entry]) -> list[Line | LineProblem]:
    """Return the next contacts of a file, at most `BATCH`."""
    return [_read(entry) for entry in islice(entries, BATCH)]


def _read(entry: Entry) -> Line | LineProblem:
    def problem(column: str, reason: str) -> LineProblem:
        return LineProblem(line=entry.line, column=column[:_PLACE], reason=reason)

    if entry.problem:
        return problem(entry.column, entry.problem)
    if len(entry.aliases) > contacts.ALIASES_MOST:
        return problem("aliases", f"has more than {contacts.ALIASES_MOST} ids: remove some")
    aliases = [_person(given) for given in entry.aliases]
    if not aliases or not all(aliases):
        return problem("aliases", "has no number or id, or one that cannot be one: write a number as +15550100200")
    given = {"name": entry.name, "tags": entry.tags, "customFields": dict(entry.fields) or None}
    try:
        # as in a body: what cannot be stored by one way cannot be by the other
        noted = checked(given, CHANGES)
        require_fields(entry.fields, "/customFields")
    except FieldsInvalid as error:
        place, reason = error.wrong[0]
        return problem(place.removeprefix("/"), reason)
    # only the first id: whether others name the same person is decided by `merge`, never by a file
    noted_of_file = Noted(name=noted["name"], tags=noted["tags"], fields=noted["customFields"])
    return Line(line=entry.line, person=Imported(alias=aliases[0], noted=noted_of_file))


def _person(given: str) -> str:
    """Return the one spelling of a person's id; empty for what is none."""
    try:
        found = chat_ids.read(given)
    except chat_ids.ChatInvalid:
        return ""
    return found.id if found.form in _PERSONS else ""


def require_fields(fields: Mapping[str, Any], at: str) -> None:
    """Raise `FieldsInvalid` unless custom fields, which `CHANGES` takes, are flat, few and short."""
    wrong = [
        (at + pointer(name), "must be a text of at most 1,000 characters, a number, true, false, or null")
        for name, value in fields.items()
        if not (
            value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 1000)
        )
    ]
    wrong += [(at, "must have names of 1 to 60 characters") for name in fields if not 1 <= len(name) <= 60]
    if len(fields) > contacts.FIELDS_MOST or len(json.dumps(dict(fields))) > _FIELDS_BYTES:
        wrong.append((at, f"must be at most {contacts.FIELDS_MOST} fields of {_FIELDS_BYTES} bytes in all"))
    if wrong:
        raise FieldsInvalid(wrong)
