"""Files of contacts: what is written is read back, whatever is in it; spreadsheets and phones write others."""

from __future__ import annotations

import csv
import io
import re
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import pytest

from shared.contact_files import Entry, FileUnreadable, decoded, read_csv, read_vcards, write_csv, write_vcards

CARD = "BEGIN:VCARD\nTEL:1\nEND:VCARD\nNOTE:👍\n"
ODD = 'a, "b"; c\\d\nnext = ä 👍 ' + "long " * 30


def lines(text: str) -> TextIO:
    return decoded(text.encode())


def contact(**fields: Any) -> dict[str, Any]:
    return {
        "id": "p1",
        "name": "Ada",
        "givenName": "Ada",
        "profileName": None,
        "username": None,
        "aliases": ["15550100200", "US.1"],
        "phones": ["15550100200"],
        "tags": ["vip", "a b"],
        "customFields": {"age": 36, "note": ODD},
    } | fields


def test_what_is_written_as_csv_is_read_back() -> None:
    formula = contact(givenName='=HYPERLINK("http://x")', tags=["+1", "@x"], customFields={})
    inner = "a;=1\n=2;'@x\t+3\r-4;＝5, =6"
    another = contact(profileName=inner, givenName=inner, tags=["b", "=7;=8", "＠9"], customFields={"note": "c;=9"})
    text = (write_csv([contact()], header=True) + write_csv([formula, another], header=False)).decode()
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    # and as spreadsheets of other languages divide it, to which a quote within a cell is none
    cells += [cell for delimiter in ";\t" for cell in re.split(f"[{delimiter}\r\n]", text)]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＠")) for cell in cells), cells
    first, second, third = read_csv(lines(text))
    assert (third.name, third.tags, third.fields) == (inner, another["tags"], another["customFields"])
    assert (first.aliases, first.name, first.tags) == (["15550100200", "US.1"], "Ada", ["vip", "a b"])
    assert first.fields == {"age": 36, "note": ODD}
    assert (second.name, second.tags) == ('=HYPERLINK("http://x")', ["+1", "@x"])


@pytest.mark.parametrize("tags", [["a;b", "c"], ["[x]"], [" a"], ['["a"]', "b"], ["back\\", "next,"], ["ä"]])
def test_odd_texts_are_read_back(tags: list[str]) -> None:
    given = contact(givenName="'=1", name="'=1", tags=tags, customFields={})
    (row,) = read_csv(decoded(write_csv([given], header=True)))
    (card,) = read_vcards(decoded(write_vcards([given])))
    assert row.tags == tags
    assert card.tags == [tag.strip() for tag in tags]
    assert row.name == card.name == "'=1"


def test_csv_of_other_programs() -> None:
    text = decoded("\ufeffphone;name;Kundennummer\r\n+49 30 1234567;Björn;4711\r\n\r\n;Ohne;\r\n1;2;3;4\r\n".encode())
    first, second, third = read_csv(text)
    assert (first.line, first.aliases, first.name, first.fields) == (
        2,
        ["+49 30 1234567"],
        "Björn",
        {"Kundennummer": "4711"},
    )
    assert (second.line, second.aliases, second.tags) == (4, [], None)
    assert (third.line, third.problem.partition(":")[0]) == (5, "has more cells than the first line")
    (entry,) = read_csv(lines("phone,customFields\n1,{\n"))
    assert entry.column == "customFields"
    assert entry.problem.startswith("is not JSON")


@pytest.mark.parametrize("text", ["", "name,tags\nAda,x\n", "phone,phone\n1,2\n", 'phone\n"1\n', 'phone\n"1"2\n'])
def test_csv_that_cannot_be_read(text: str) -> None:
    with pytest.raises(FileUnreadable):
        list(read_csv(lines(text)))


def test_text_that_is_not_utf_8() -> None:
    with pytest.raises(FileUnreadable, match="byte 2 "):
        decoded("Björn".encode("latin-1"))
    for much in (65_535, 70_000, 131_072):
        # a character may lie on both sides of what is decoded at once
        with pytest.raises(FileUnreadable, match=f"byte {much + 2} "):
            decoded(b"a" * much + "ö".encode() + b"\xff")
        with pytest.raises(FileUnreadable, match=f"byte {much} "):
            decoded(b"a" * much + "ö".encode()[:1])


@pytest.mark.parametrize(
    ("head", "line", "count", "form"),
    [
        ("phone,name\n", "+15550100200,👍\n", 10_000, read_csv),
        (CARD, "\n", 100_000, read_vcards),
        (CARD.replace("👍", ""), f" {'x' * 200}\n", 20_000, read_vcards),
    ],
    ids=["csv", "short lines", "one folded line"],
)
def test_a_file_costs_no_more_memory_than_its_bytes(
    head: str, line: str, count: int, form: Callable[[TextIO], Iterator[Entry]]
) -> None:
    """As text it took up to eight times as much: a few files of 16 MB ended the process that imports for all."""
    body = (head + line * count).encode()
    tracemalloc.start()
    try:
        assert sum(1 for _ in form(decoded(body))) > 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(body)


def test_what_is_written_as_vcard_is_read_back() -> None:
    odd = contact(name=ODD.replace("\n", " ").strip())
    raw = write_vcards([odd, contact()])
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    first, second = read_vcards(decoded(raw))
    assert first.name == odd["name"]
    assert [first.aliases[0].removeprefix("tel:"), first.aliases[1]] == ["+15550100200", "US.1"]
    assert (first.tags, first.fields) == (["vip", "a b"], {"age": 36, "note": ODD})
    assert second.line > first.line


def test_vcards_of_phones() -> None:
    text = """BEGIN:VCARD
VERSION:2.1
N:Lovelace;Ada;;;
item1.TEL;TYPE=CELL:+1 555 010 0200
item1.X-ABLabel:mobile
EMAIL;TYPE=INTERNET:ada@example.org
CATEGORIES:a\\,b,c
NOTE:first\\nsecond
 , folded
END:VCARD
BEGIN:VCARD
TEL:1
"""
    first, second = read_vcards(lines(text))
    assert (first.line, first.name, first.aliases, first.tags) == (1, "Ada Lovelace", ["+1 555 010 0200"], ["a,b", "c"])
    assert first.fields == {"email": "ada@example.org", "note": "first\nsecond, folded"}
    assert second.problem.startswith("has no END:VCARD")
    with pytest.raises(FileUnreadable):
        list(read_vcards(lines("nothing")))


def test_vcards_of_old_phones() -> None:
    """Version 2.1 writes what is not ASCII as quoted-printable, with line breaks of its own."""
    text = """BEGIN:VCARD
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=C3=84pfel;Bo=
=C3=B6
TEL;TYPE="cell:main":+15550100200
NOTE;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:=FCber=0D=0Ano
PHOTO;ENCODING=BASE64:AAAA=
END:VCARD
BEGIN:VCARD
FN;CHARSET=UTF-7;ENCODING=QUOTED-PRINTABLE:x
END:VCARD
BEGIN:VCARD
FN;ENCODING=QUOTED-PRINTABLE:=FF
END:VCARD
"""
    first, second, third = read_vcards(lines(text))
    assert (first.name, first.aliases, first.fields) == ("Boö Äpfel", ["+15550100200"], {"note": "über\r\nno"})
    assert second.problem == "has a character set that is not read: save it as UTF-8"
    assert third.problem == "has a value that is not in UTF-8"


def test_what_is_too_much_is_one_problem() -> None:
    card = "BEGIN:VCARD\n{}\nEND:VCARD\n"
    (entry,) = read_vcards(lines(card.format("TEL:1\n" * 2000)))
    assert entry.problem == "has more than 1000 lines"
    (entry,) = read_vcards(lines(card.format("NOTE:" + "x" * 200_000)))
    assert entry.problem == "has a value of more than 131072 characters"
    with pytest.raises(FileUnreadable, match="more than 1000 columns"):
        list(read_csv(lines("phone" + "," * 5000)))
