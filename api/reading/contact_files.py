"""Contacts as files: CSV (RFC 4180) and vCard (RFC 6350; 3.0 and 2.1 are read too). Pure: bytes in, bytes out."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.events.message_json import JsonObject

COLUMNS: Final = ("contactId", "aliases", "name", "profileName", "username", "tags", "customFields")
"""Of an exported file, in its order."""
_READ_ONLY: Final = frozenset({"contactId", "profileName", "username"})
"""Columns that an import takes and ignores, so that an exported file can be imported."""
_ALIASES: Final = ("aliases", "alias", "phone", "chatId")
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the beginning of a cell (OWASP, CSV injection)."""
_FOLDED: Final = 75
"""Octets of a line of a vCard at most (RFC 6350 3.2)."""
_BEGIN: Final = "BEGIN:VCARD"
_ESCAPES: Final = {"\\": "\\\\", ",": "\\,", ";": "\\;", "\n": "\\n"}
_FIELD_LIMIT: Final = 131072
"""Characters of a cell that the csv module takes at most."""


class FileUnreadable(Exception):
    """Raised when a file as a whole cannot be read; its text is the reason, in a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One contact of a file.

    Attributes:
        line: where it begins, from 1. aliases: its ids as they stand there. problem: why it cannot be taken; empty: it
            can, as far as the file's form goes.
    """

    line: int
    aliases: Sequence[str] = ()
    name: str | None = None
    tags: Sequence[str] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def decoded(body: bytes) -> str:
    """Return a file's text. Raises `FileUnreadable`."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileUnreadable(f"The file is not UTF-8: byte {error.start} cannot be decoded.") from None


def read_csv(text: str) -> Iterator[Entry]:
    """Yield the contacts of a CSV file with a header: one of `aliases`, `phone`, …; `name`, `tags`, `customFields`; any
    other column is a custom field. Raises `FileUnreadable`.
    """
    first = text.partition("\n")[0]
    # spreadsheets write the delimiter of their language
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if not any(name in header for name in _ALIASES):
            raise FileUnreadable(f"The first line must name a column {', '.join(_ALIASES)}.")
        if len(set(header)) != len(header):
            raise FileUnreadable("The first line names a column twice.")
        line = rows.line_num + 1
        for cells in rows:
            if any(cells):
                yield _of_row(line, dict(zip(header, map(_plain, cells), strict=False)), len(cells) > len(header))
            line = rows.line_num + 1
    except csv.Error as error:
        raise FileUnreadable(f"The file is no CSV: line {rows.line_num}: {error}.") from None


def _of_row(line: int, row: Mapping[str, str], is_long: bool) -> Entry:
    if is_long:
        return Entry(line=line, problem="has more cells than the first line")
    given = "|".join(row.get(name, "") for name in _ALIASES)
    fields: dict[str, Any] = {
        name: text for name, text in row.items() if text and name and name not in _ALIASES and name not in COLUMNS
    }
    if text := row.get("customFields"):
        try:
            more = json.loads(text)
        except ValueError:
            return Entry(line=line, problem="customFields is not JSON")
        if not isinstance(more, dict):
            return Entry(line=line, problem="customFields is no object")
        fields |= more
    return Entry(
        line=line,
        aliases=[one for one in re.split(r"[|\n]", given.replace(";", "|")) if one.strip()],
        name=row.get("name") or None,
        tags=[tag.strip() for tag in row["tags"].split(";") if tag.strip()] if row.get("tags") else None,
        fields=fields,
    )


def _plain(cell: str) -> str:
    # an apostrophe that an export has put before what looks like a formula
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_DANGEROUS) else cell


def write_csv(contacts: Iterable[JsonObject], *, header: bool) -> bytes:
    """Return contacts, as clients see them, as lines of a CSV file. No cell is a formula to a spreadsheet."""
    target = io.StringIO()
    rows = csv.writer(target)
    if header:
        rows.writerow(COLUMNS)
    for one in contacts:
        fields = json.dumps(one["customFields"], ensure_ascii=False) if one["customFields"] else ""
        cells = (
            one["id"],
            ";".join(one["aliases"]),
            one["givenName"] or "",
            one["profileName"] or "",
            one["username"] or "",
            ";".join(one["tags"]),
            fields,
        )
        rows.writerow([f"'{cell}" if cell.startswith(_DANGEROUS) else cell for cell in cells])
    return target.getvalue().encode()


def read_vcards(text: str) -> Iterator[Entry]:
    """Yield the contacts of a file of vCards. Raises `FileUnreadable`."""
    card: list[tuple[str, str]] | None = None
    begun = number = 0
    for number, line in _unfolded(text):
        if not line.strip():
            continue
        name, _, value = line.partition(":")
        # `item1.TEL;TYPE=cell` is TEL
        name = name.partition(";")[0].rpartition(".")[2].strip().upper()
        if f"{name}:{value.strip().upper()}" == _BEGIN:
            card, begun = [], number
        elif name == "END" and card is not None:
            yield _of_card(begun, card)
            card = None
        elif card is not None:
            card.append((name, value))
    if card is not None:
        yield Entry(line=begun, problem="has no END:VCARD")
    if not begun:
        raise FileUnreadable("The file has no BEGIN:VCARD.")


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Yield logical lines with the number of their first line: one that begins with a space goes on (RFC 6350 3.2)."""
    begun, logical = 1, ""
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line[:1] in (" ", "\t") and number > 1:
            logical += line[1:]
            continue
        yield begun, logical
        begun, logical = number, line
    yield begun, logical


def _of_card(line: int, card: Sequence[tuple[str, str]]) -> Entry:
    texts = {name: _unescaped(value) for name, value in reversed(card)}
    aliases = [_unescaped(value).strip() for name, value in card if name in ("TEL", "X-BULKHEAD-ALIAS")]
    tags = [tag for name, value in card if name == "CATEGORIES" for tag in _listed(value) if tag]
    name = texts.get("FN", "").strip()
    if not name and "N" in texts:
        parts = next(value for key, value in card if key == "N")
        family, given, *_ = [*_listed(parts, ";"), "", ""]
        name = f"{given} {family}".strip()
    # a card must have a name: of a contact without one, an export writes an id
    if any(re.sub(r"[^0-9]", "", alias) == name for alias in aliases) or name in aliases:
        name = ""
    fields: dict[str, Any] = {}
    for key, label in (("EMAIL", "email"), ("ORG", "organization"), ("NOTE", "note"), ("TITLE", "title")):
        if texts.get(key, "").strip():
            fields[label] = texts[key].strip()
    if text := texts.get("X-BULKHEAD-FIELDS"):
        try:
            more = json.loads(text)
        except ValueError:
            return Entry(line=line, problem="X-BULKHEAD-FIELDS is not JSON")
        fields |= more if isinstance(more, dict) else {}
    return Entry(line=line, aliases=aliases, name=name or None, tags=tags or None, fields=fields)


def _listed(value: str, separator: str = ",") -> list[str]:
    return [_unescaped(one).strip() for one in re.split(rf"(?<!\\){separator}", value)]


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] in "nN" else found[1], value)


def write_vcards(contacts: Iterable[JsonObject]) -> bytes:
    """Return contacts, as clients see them, as vCards of version 4.0."""
    lines = []
    for one in contacts:
        lines += [_BEGIN, "VERSION:4.0", f"UID:{one['id']}", f"FN:{_escaped(one['name'] or one['aliases'][0])}"]
        phones = set(one["phones"])
        for alias in one["aliases"]:
            kind = "TEL;VALUE=uri:tel:+" if alias in phones else "X-BULKHEAD-ALIAS:"
            lines.append(f"{kind}{alias if alias in phones else _escaped(alias)}")
        if one["tags"]:
            lines.append(f"CATEGORIES:{','.join(map(_escaped, one['tags']))}")
        if one["customFields"]:
            lines.append(f"X-BULKHEAD-FIELDS:{_escaped(json.dumps(one['customFields'], ensure_ascii=False))}")
        lines.append("END:VCARD")
    return b"".join(_folded(line) for line in lines)


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text.replace("\r\n", "\n").replace("\r", "\n"))


def _folded(line: str) -> bytes:
    raw = line.encode()
    pieces = []
    while len(raw) > _FOLDED:
        cut = _FOLDED
        # not within a character: its further bytes are 10xxxxxx
        while raw[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(raw[:cut])
        raw = b" " + raw[cut:]
    return b"\r\n".join([*pieces, raw]) + b"\r\n"
