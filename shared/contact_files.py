"""Contacts as files: CSV (RFC 4180) and vCard (RFC 6350; 3.0 and 2.1 are read too). Pure: bytes in, bytes out."""

from __future__ import annotations

import codecs
import csv
import io
import json
import quopri
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, TextIO

COLUMNS: Final = ("contactId", "aliases", "name", "profileName", "username", "tags", "customFields")
"""Of an exported file, in its order."""
_READ_ONLY: Final = frozenset({"contactId", "profileName", "username"})
"""Columns that an import takes and ignores, so that an exported file can be imported."""
_ALIASES: Final = ("aliases", "alias", "phone", "chatId")
_BEGINS: Final = r"(?:\A|(?<=[;\t\r\n]))"
"""Where a cell begins to a spreadsheet: also behind what divides cells or lines in another language's spreadsheet, to
which the quotes of this file are no quotes.
"""
_FORMULA: Final = r"(?='*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])"
"""What a spreadsheet takes for a formula at the beginning of a cell (OWASP, CSV injection; the last four are full-width
signs). An export puts one more apostrophe before it, so that a text which begins with one is itself again after an
import.
"""
_ESCAPED: Final = re.compile(f"{_BEGINS}'{_FORMULA}")
_UNESCAPED: Final = re.compile(f"{_BEGINS}{_FORMULA}")
_COLUMNS_MOST: Final = 1000
_FOLDED: Final = 75
"""Octets of a line of a vCard at most (RFC 6350 3.2)."""
_BEGIN: Final = "BEGIN:VCARD"
_ALIAS_PROPERTIES: Final = ("TEL", "X-BULKHEAD-ALIAS")
_FIELD_PROPERTIES: Final = {"EMAIL": "email", "ORG": "organization", "NOTE": "note", "TITLE": "title"}
_PROPERTIES: Final = {*_ALIAS_PROPERTIES, *_FIELD_PROPERTIES, "FN", "N", "CATEGORIES", "X-BULKHEAD-FIELDS"}
_ESCAPES: Final = {"\\": "\\\\", ",": "\\,", ";": "\\;", "\n": "\\n"}
_FIELD_LIMIT: Final = 131072
"""Characters of a cell that the csv module takes at most, and of a value of a vCard that is read."""
_CARD_LINES_MOST: Final = 1000
"""Lines of one vCard: with every field and id that a contact may have, it has fewer."""
_DECODED_BYTES: Final = 8192
"""Bytes that are decoded at once where only their being UTF-8 counts."""
_HEAD: Final = 1000
"""Characters of a line of a vCard in which its name and parameters end."""
_PROPERTY: Final = re.compile(r'(?:[^":]|"[^"]*")*')
"""Name and parameters: a colon within quotes does not end them (RFC 6350 3.3)."""
_QUOTED_PRINTABLE: Final = "QUOTED-PRINTABLE"
_CHARSETS: Final = frozenset({"UTF-8", "US-ASCII", "ISO-8859-1", "WINDOWS-1252"})
_CHARSET: Final = re.compile(r'CHARSET="?([^";]+)')


class FileUnreadable(Exception):
    """Raised when a file as a whole cannot be read; its text is the reason, in a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One contact of a file.

    Attributes:
        line: where it begins, from 1. aliases: its ids as they stand there. problem: why it cannot be taken; empty: it
            can, as far as the file's form goes. column: what the problem is about; empty: the whole line.
    """

    line: int
    aliases: Sequence[str] = ()
    name: str | None = None
    tags: Sequence[str] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    column: str = ""


def decoded(body: bytes) -> TextIO:
    """Return a file's lines, of which one at a time is in memory: all of them as text take up to eight times as much
    as their bytes. Raises `FileUnreadable`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    for begin in range(0, len(body), _DECODED_BYTES):
        left_over = len(decoder.getstate()[0])
        end = begin + _DECODED_BYTES
        try:
            decoder.decode(body[begin:end], final=end >= len(body))
        except UnicodeDecodeError as error:
            at = begin - left_over + error.start
            raise FileUnreadable(f"The file is not UTF-8: byte {at} cannot be decoded.") from None
    return io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline="")


def read_csv(lines: TextIO) -> Iterator[Entry]:
    """Yield the contacts of a CSV file with a header: one of `aliases`, `phone`, …; `name`, `tags`, `customFields`; any
    other column is a custom field. Raises `FileUnreadable`.
    """
    first = lines.readline()
    # spreadsheets write the delimiter of their language
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if not any(name in header for name in _ALIASES):
            raise FileUnreadable(f"The first line must name a column {', '.join(_ALIASES)}.")
        if len(header) > _COLUMNS_MOST:
            raise FileUnreadable(f"The first line has more than {_COLUMNS_MOST} columns.")
        named = [name for name in header if name]
        if len(set(named)) != len(named):
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
        return Entry(line=line, problem="has more cells than the first line: put a cell with a delimiter into quotes")
    given = "|".join(row.get(name, "") for name in _ALIASES)
    fields: dict[str, Any] = {
        name: text for name, text in row.items() if text and name and name not in _ALIASES and name not in COLUMNS
    }
    if text := row.get("customFields"):
        try:
            more = json.loads(text)
        except (ValueError, RecursionError):
            return Entry(
                line=line, column="customFields", problem='is not JSON: write an object, as {"customerNumber": "4711"}'
            )
        if not isinstance(more, dict):
            return Entry(
                line=line, column="customFields", problem='is no object: write one, as {"customerNumber": "4711"}'
            )
        fields |= more
    return Entry(
        line=line,
        aliases=[one for one in re.split(r"[|\n]", given.replace(";", "|")) if one.strip()],
        name=row.get("name") or None,
        tags=_tags(row.get("tags", "")) or None,
        fields=fields,
    )


def _tags(cell: str) -> list[str]:
    if cell.startswith("["):
        try:
            given = json.loads(cell)
        except (ValueError, RecursionError):
            given = None
        if isinstance(given, list) and all(isinstance(tag, str) for tag in given):
            return given
    return [tag.strip() for tag in cell.split(";") if tag.strip()]


def _tags_cell(tags: Sequence[str]) -> str:
    """Return the cell that `_tags` reads as these tags: as people write them, or as JSON where one holds a divider."""
    cell = ";".join(tags)
    return cell if _tags(cell) == list(tags) else json.dumps(list(tags), ensure_ascii=False)


def _plain(cell: str) -> str:
    # apostrophes that an export has put before what looks like a formula
    return _ESCAPED.sub("", cell)


def write_csv(contacts: Iterable[Mapping[str, Any]], *, header: bool) -> bytes:
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
            _tags_cell(one["tags"]),
            fields,
        )
        rows.writerow([_UNESCAPED.sub("'", cell) for cell in cells])
    return target.getvalue().encode()


@dataclass(frozen=True, slots=True)
class _Property:
    """One line of a vCard: its name, its parameters in capitals, its value as it stands there."""

    name: str
    parameters: str
    value: str

    @property
    def text(self) -> str:
        """The value, decoded as its parameters say; escapes stay. Raises `ValueError` when it cannot be."""
        if len(self.value) > _FIELD_LIMIT:
            raise ValueError(f"has a value of more than {_FIELD_LIMIT} characters")
        if _QUOTED_PRINTABLE not in self.parameters:
            return self.value
        charset = named[1] if (named := _CHARSET.search(self.parameters)) else "UTF-8"
        if charset not in _CHARSETS:
            raise ValueError("has a character set that is not read: save it as UTF-8")
        try:
            return quopri.decodestring(self.value.encode()).decode(charset)
        except UnicodeDecodeError:
            raise ValueError(f"has a value that is not in {charset}") from None


def read_vcards(lines: TextIO) -> Iterator[Entry]:
    """Yield the contacts of a file of vCards. Raises `FileUnreadable`."""
    card: list[_Property] | None = None
    begun = number = 0
    for number, line in _unfolded(lines):
        if not line.strip():
            continue
        head = _PROPERTY.match(line, 0, _HEAD)
        end = head.end() if head else 0
        name, _, parameters = line[:end].upper().partition(";")
        # `item1.TEL;TYPE=cell` is TEL
        name, value = name.rpartition(".")[2].strip(), line[end + 1 :]
        if f"{name}:{value.strip().upper()}" == _BEGIN:
            card, begun = [], number
        elif name == "END" and card is not None:
            yield _of_card(begun, card)
            card = None
        elif card is not None and len(card) <= _CARD_LINES_MOST:
            card.append(_Property(name, parameters, value))
    if card is not None:
        yield Entry(line=begun, problem="has no END:VCARD: the file may be cut off")
    if not begun:
        raise FileUnreadable("The file has no BEGIN:VCARD.")


def _unfolded(lines: TextIO) -> Iterator[tuple[int, str]]:
    """Yield logical lines with the number of their first line: one that begins with a space goes on (RFC 6350 3.2), and
    so does one after the soft line break of quoted-printable (vCard 2.1).
    """
    begun, pieces, size, is_soft = 1, [""], 0, False
    for number, ended in enumerate(lines, 1):
        line = ended.rstrip("\r\n")
        goes_on = is_soft or (line[:1] in (" ", "\t") and number > 1)
        if is_soft:
            pieces[-1] = pieces[-1][:-1]
        if not goes_on:
            yield begun, "".join(pieces)
            begun, pieces, size = number, [line], 0
        elif size <= 2 * _FIELD_LIMIT:
            # of what is too long to be read anyway, the rest is left out
            pieces.append(line if is_soft else line[1:])
        size += len(line)
        is_soft = line.endswith("=") and _QUOTED_PRINTABLE in pieces[0][:_HEAD].partition(":")[0].upper()
    yield begun, "".join(pieces)


def _of_card(line: int, card: Sequence[_Property]) -> Entry:
    if len(card) > _CARD_LINES_MOST:
        return Entry(line=line, problem=f"has more than {_CARD_LINES_MOST} lines")
    try:
        values = [(one.name, one.text) for one in card if one.name in _PROPERTIES]
    except ValueError as error:
        return Entry(line=line, problem=str(error))
    # of several the first
    texts = {name: _unescaped(value).strip() for name, value in reversed(values)}
    aliases = [_unescaped(value).strip() for name, value in values if name in _ALIAS_PROPERTIES]
    tags = [tag for name, value in values if name == "CATEGORIES" for tag in _listed(value) if tag]
    name = texts.get("FN", "")
    if not name and "N" in texts:
        family, given, *_ = [*_listed(next(value for key, value in values if key == "N"), ";"), ""]
        name = f"{given} {family}".strip()
    # a card must have a name: of a contact without one, an export writes an id
    if name in aliases or any(re.sub(r"[^0-9]", "", alias) == name for alias in aliases):
        name = ""
    fields: dict[str, Any] = {label: texts[key] for key, label in _FIELD_PROPERTIES.items() if texts.get(key)}
    if text := texts.get("X-BULKHEAD-FIELDS"):
        try:
            more = json.loads(text)
        except (ValueError, RecursionError):
            return Entry(line=line, column="X-BULKHEAD-FIELDS", problem="is not JSON: write an object")
        fields |= more if isinstance(more, dict) else {}
    return Entry(line=line, aliases=aliases, name=name or None, tags=tags or None, fields=fields)


def _listed(value: str, divider: str = ",") -> list[str]:
    # a divider after an escaped backslash divides: pairs are read from the left
    parts = re.findall(rf"((?:[^\\{divider}]|\\.|\\\Z)*)(?:{divider}|\Z)", value, re.DOTALL)
    return [_unescaped(part).strip() for part in parts]


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] in "nN" else found[1], value)


def write_vcards(contacts: Iterable[Mapping[str, Any]]) -> bytes:
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
