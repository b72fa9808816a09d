"""Files of contacts: what is written is read back, whatever is in it; spreadsheets and phones write others."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from api.reading.contact_files import FileUnreadable, decoded, read_csv, read_vcards, write_csv, write_vcards

ODD = 'a, "b"; c\\d\nnext = ä 👍 ' + "long " * 30


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
    text = (write_csv([contact()], header=True) + write_csv([formula], header=False)).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)
    first, second = read_csv(text)
    assert (first.aliases, first.name, first.tags) == (["15550100200", "US.1"], "Ada", ["vip", "a b"])
    assert first.fields == {"age": 36, "note": ODD}
    assert (second.name, second.tags) == ('=HYPERLINK("http://x")', ["+1", "@x"])


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
    assert (third.line, third.problem) == (5, "has more cells than the first line")
    (entry,) = read_csv("phone,customFields\n1,{\n")
    assert entry.problem == "customFields is not JSON"


@pytest.mark.parametrize("text", ["", "name,tags\nAda,x\n", "phone,phone\n1,2\n", 'phone\n"1\n', 'phone\n"1"2\n'])
def test_csv_that_cannot_be_read(text: str) -> None:
    with pytest.raises(FileUnreadable):
        list(read_csv(text))


def test_text_that_is_not_utf_8() -> None:
    with pytest.raises(FileUnreadable):
        decoded("Björn".encode("latin-1"))


def test_what_is_written_as_vcard_is_read_back() -> None:
    odd = contact(name=ODD.replace("\n", " ").strip())
    raw = write_vcards([odd, contact()])
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    first, second = read_vcards(raw.decode())
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
    first, second = read_vcards(text)
    assert (first.line, first.name, first.aliases, first.tags) == (1, "Ada Lovelace", ["+1 555 010 0200"], ["a,b", "c"])
    assert first.fields == {"email": "ada@example.org", "note": "first\nsecond, folded"}
    assert second.problem == "has no END:VCARD"
    with pytest.raises(FileUnreadable):
        list(read_vcards("nothing"))
