"""People over all connections: found, changed, merged, split, and each change an event in its own transaction."""

from __future__ import annotations

import asyncio
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from recorder.contact_import import ContactImport
from shared.compose.contact_entries import IMPORT
from shared.store import people, tasks
from shared.store.people import OnePerson
from tests.api.api_env import ApiEnv, problem
from tests.api.test_chats import advance, of, receive
from tests.store.env import open_store

PLACE = "/api/v2/contacts/alpha"


def contact(api_env: ApiEnv, name: str) -> dict[str, Any]:
    return of(api_env, f"{PLACE}/{name}")


def new(api_env: ApiEnv, chat: str) -> dict[str, Any]:
    receive(api_env, chat, f"wamid.{chat}", "Hello")
    advance(api_env)
    return contact(api_env, chat)


def events(api_env: ApiEnv, contact_id: str) -> list[tuple[str, dict[str, Any]]]:
    rows = api_env.sql(
        "SELECT type, data FROM events WHERE subject = 'contact' AND data ->> 'contactId' = %s ORDER BY id", contact_id
    )
    return [(row["type"], row["data"]) for row in rows]


def test_who_writes_or_is_written_to_is_a_contact(api_env: ApiEnv) -> None:
    one = new(api_env, "15550108001")
    assert (one["name"], one["profileName"], one["givenName"]) == ("Ada", "Ada", None)
    assert (one["aliases"], one["phones"], one["tags"], one["merges"]) == (["15550108001"], ["15550108001"], [], [])
    assert events(api_env, one["id"]) == [("contact.created", {"contactId": one["id"], "aliases": ["15550108001"]})]
    # again: the same contact
    receive(api_env, "15550108001", "wamid.8001.2", "Hello again")
    api_env.send("Hi", chat="15550108002")
    api_env.sql("UPDATE reading_positions SET xid = 1, read_at = '2020-01-01' WHERE name = 'messages'")
    advance(api_env)
    assert contact(api_env, one["id"])["id"] == one["id"] == contact(api_env, "+1 555 010 8001")["id"]
    assert contact(api_env, "15550108002")["name"] is None
    assert len(events(api_env, one["id"])) == 1
    chat = of(api_env, "/api/v2/chats/alpha?q=15550108001")["chats"][0]
    assert chat["contact"] == {"id": one["id"], "name": "Ada", "username": None}


def test_what_a_company_notes_is_found_and_is_an_event(api_env: ApiEnv) -> None:
    one = new(api_env, "15550108003")
    place = f"{PLACE}/{one['id']}"
    noted = {"name": "Grace Hopper", "tags": ["VIP", "VIP", "navy"], "customFields": {"age": 85, "unit": "COBOL"}}
    changed = api_env.call("PATCH", place, json=noted).json()
    assert (changed["name"], changed["tags"]) == ("Grace Hopper", ["VIP", "navy"])
    assert changed["customFields"] == {"age": 85, "unit": "COBOL"}
    changed = api_env.call("PATCH", place, json={"customFields": {"unit": None, "ship": True}}).json()
    assert changed["customFields"] == {"age": 85, "ship": True}
    assert api_env.call("PATCH", place, json={"tags": ["VIP", "navy"]}).status_code == 200, "nothing new: no event"
    assert [(kind, data.get("changed")) for kind, data in events(api_env, one["id"])] == [
        ("contact.created", None),
        ("contact.updated", ["name", "tags", "customFields"]),
        ("contact.updated", ["customFields"]),
    ]
    for query in ("q=hopp", "q=grace", "tag=vip", "tag=navy", "q=15550108003", "q=%2B1 555 0108003&tag=vip"):
        found = of(api_env, f"{PLACE}?{query}")["contacts"]
        assert [row["id"] for row in found] == [one["id"]], query
    assert of(api_env, f"{PLACE}?q=grac hopper&tag=army")["contacts"] == []
    assert [row["chatId"] for row in of(api_env, "/api/v2/chats/alpha?q=hopper")["chats"]] == ["15550108003"]
    assert of(api_env, "/api/v2/contacts/beta?q=hopper") == {"contacts": [], "next": None}


@pytest.mark.parametrize(
    "body",
    [
        {"tags": ["x" * 51]},
        {"tags": ["x"] * 51},
        {"customFields": {"a": {"b": 1}}},
        {"customFields": {"a": "x" * 1001}},
        {"customFields": {"": 1}},
        {"customFields": {f"f{number}": "y" * 900 for number in range(40)}},
        {"name": "x" * 201},
        {"nickname": "x"},
    ],
)
def test_what_cannot_be_noted(api_env: ApiEnv, body: dict[str, Any]) -> None:
    assert problem(api_env.call("PATCH", f"{PLACE}/p1", json=body))["type"] == "body_invalid"


def test_contacts_are_listed_page_by_page(api_env: ApiEnv) -> None:
    for number in range(3):
        new(api_env, f"1555010810{number}")
    whole = [row["id"] for row in of(api_env, f"{PLACE}?limit=200")["contacts"]]
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = of(api_env, f"{PLACE}?limit=2&cursor={cursor}")
        found += [row["id"] for row in page["contacts"]]
        cursor = page["next"]
    assert found == whole
    assert len(set(found)) == len(found)


def test_a_merge_is_one_chat_and_can_be_undone(api_env: ApiEnv) -> None:
    kept, other = new(api_env, "15550108201"), new(api_env, "4915550108202")
    api_env.call("PATCH", f"{PLACE}/{kept['id']}", json={"tags": ["a"], "customFields": {"x": 1}})
    api_env.call(
        "PATCH", f"{PLACE}/{other['id']}", json={"name": "Bob", "tags": ["a", "b"], "customFields": {"x": 2, "y": 3}}
    )
    merged = api_env.call("POST", f"{PLACE}/{kept['id']}/merge", json={"contactId": "+49 1555 0108202"}).json()
    assert (merged["id"], merged["name"], merged["tags"]) == (kept["id"], "Bob", ["a", "b"])
    assert merged["customFields"] == {"x": 1, "y": 3}
    assert merged["aliases"] == ["15550108201", "4915550108202"]
    assert problem(api_env.call("GET", f"{PLACE}/{other['id']}"))["type"] == "contact_unknown"
    for chat in ("15550108201", "4915550108202"):
        assert len(of(api_env, f"/api/v2/messages/alpha/{chat}")["messages"]) == 2
    assert [row["chatId"] for row in of(api_env, "/api/v2/chats/alpha?q=15550108201")["chats"]] == ["4915550108202"]
    (merge,) = merged["merges"]
    undo = f"{PLACE}/{kept['id']}/split"
    split = api_env.call("POST", undo, json={"mergeId": merge["mergeId"]}).json()
    assert (split["id"], split["name"], split["tags"]) == (other["id"], "Bob", ["a", "b"])
    assert split["customFields"] == {"x": 2, "y": 3}
    assert split["aliases"] == ["4915550108202"]
    again = contact(api_env, "15550108201")
    assert (again["name"], again["tags"], again["customFields"]) == ("Ada", ["a"], {"x": 1})
    assert again["merges"] == []
    assert len(of(api_env, "/api/v2/messages/alpha/15550108201")["messages"]) == 1
    assert problem(api_env.call("POST", undo, json={"mergeId": merge["mergeId"]}))["type"] == "contact_refused"
    assert [kind for kind, _ in events(api_env, kept["id"])] == [
        "contact.created",
        "contact.updated",
        "contact.merged",
        "contact.split",
    ]
    page = of(api_env, "/api/v2/events/alpha?types=contact.merged,contact.split&limit=500")["events"]
    assert [(one["type"], one["data"]["otherContactId"]) for one in page if one["data"]["contactId"] == kept["id"]] == [
        ("contact.merged", other["id"]),
        ("contact.split", other["id"]),
    ]


def test_merges_are_undone_in_the_opposite_order(api_env: ApiEnv) -> None:
    first, second, third = (new(api_env, f"1555010831{number}") for number in range(3))
    api_env.sql("UPDATE people SET profile_name = '', first_seen_at = '2026-01-01' WHERE id = %s", int(third["id"][1:]))

    def merge(kept: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        answer = api_env.call("POST", f"{PLACE}/{kept['id']}/merge", json={"contactId": other["id"]})
        merged: dict[str, Any] = answer.json()
        assert [one["contactId"] for one in merged["merges"]] == [other["id"]]
        return merged

    def split(one: dict[str, Any]) -> dict[str, Any]:
        answer = api_env.call("POST", f"{PLACE}/{one['id']}/split", json={"mergeId": one["merges"][0]["mergeId"]})
        return dict(answer.json())

    merged = merge(first, second)
    again = split(merge(third, first))
    assert (again["id"], again["aliases"]) == (first["id"], sorted(first["aliases"] + second["aliases"]))
    assert again["firstSeenAt"] == first["firstSeenAt"]
    assert again["merges"] == merged["merges"], "what was merged into it is still undone from it"
    assert contact(api_env, third["id"])["profileName"] is None, "the name of another's profile is gone with it"
    # ids that a merge brought are parted off one by one: nothing is left of it, and no contact without ids is made
    api_env.call("POST", f"{PLACE}/{first['id']}/split", json={"aliases": second["aliases"]})
    assert contact(api_env, first["id"])["merges"] == []
    refused = api_env.call("POST", f"{PLACE}/{first['id']}/split", json={"mergeId": merged["merges"][0]["mergeId"]})
    assert problem(refused)["type"] == "contact_refused"
    assert contact(api_env, second["aliases"][0])["aliases"] == second["aliases"]


def test_aliases_become_a_contact_of_their_own(api_env: ApiEnv) -> None:
    one = new(api_env, "15550108301")
    (connection,) = api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 0")
    linked = OnePerson(connection_id=connection["id"], first="15550108301", second="US.8301")
    api_env.run(people.learn, [linked])
    split = f"{PLACE}/{one['id']}/split"
    assert (
        problem(api_env.call("POST", split, json={"aliases": ["15550108301", "US.8301"]}))["type"] == "contact_refused"
    )
    assert problem(api_env.call("POST", split, json={"aliases": ["15550108999"]}))["type"] == "contact_refused"
    assert problem(api_env.call("POST", split, json={}))["type"] == "body_invalid"
    assert problem(api_env.call("POST", split, json={"mergeId": "x"}))["type"] == "body_invalid"
    other = api_env.call("POST", split, json={"aliases": ["us.8301"]}).json()
    assert other["aliases"] == ["US.8301"]
    assert contact(api_env, one["id"])["aliases"] == ["15550108301"]
    itself = api_env.call("POST", f"{PLACE}/{one['id']}/merge", json={"contactId": one["id"]})
    assert problem(itself)["type"] == "contact_refused"
    assert (
        problem(api_env.call("POST", f"{PLACE}/{one['id']}/merge", json={"contactId": "p999999"}))["type"]
        == "contact_unknown"
    )


def test_ids_that_the_provider_links_make_one_contact(api_env: ApiEnv) -> None:
    number, user = new(api_env, "15550108401"), new(api_env, "US.8401")
    api_env.call("PATCH", f"{PLACE}/{user['id']}", json={"tags": ["later"]})
    (connection,) = api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 0")
    api_env.run(people.learn, [OnePerson(connection_id=connection["id"], first="15550108401", second="US.8401")])
    one = contact(api_env, "US.8401")
    assert (one["id"], one["tags"]) == (min(number["id"], user["id"], key=lambda name: int(name[1:])), ["later"])
    assert one["aliases"] == ["15550108401", "US.8401"]
    assert "contact.merged" in [kind for kind, _ in events(api_env, one["id"])]


def test_two_numbers_with_one_name_stay_two_contacts(api_env: ApiEnv) -> None:
    assert new(api_env, "15550108501")["id"] != new(api_env, "15550108502")["id"]


def carry_out(api_env: ApiEnv) -> None:
    """Do what the recorder does with an import that waits."""
    incarnation = "recorder-0.a"
    with closing(open_store(api_env.database_url)) as store:
        child: Any = SimpleNamespace(store=store, identity=SimpleNamespace(process_incarnation=incarnation))
        (task,) = store.run(tasks.take, kind="recorder", incarnation=incarnation, operations=[IMPORT], most=1)
        result = asyncio.run(ContactImport(child).take_in(task))
        assert store.run(tasks.finish, task_id=task.id, incarnation=incarnation, result=result)


def test_a_file_of_contacts_goes_in_and_out(api_env: ApiEnv) -> None:
    place = "/api/v2/contact-files/beta"
    lines = ["phone,name,tags,Customer", "+1 555 010 8601,Ada,vip;navy,4711", "nonsense,Bob,,", "15550108602,=1+1,,"]
    body = "\r\n".join(lines).encode()

    def begin(content: bytes, form: str = "csv") -> Any:
        headers = {"Content-Type": "text/csv", "Prefer": "respond-async"}
        return api_env.call("POST", f"{place}?format={form}", data=content, headers=headers)

    def take_in(content: bytes, form: str = "csv") -> Any:
        answer = begin(content, form)
        assert answer.status_code == 202, answer.text
        busy = begin(content, form)
        assert problem(busy)["type"] == "contact_import_open", "one at a time"
        assert problem(busy)["taskId"] == answer.json()["id"]
        carry_out(api_env)
        return of(api_env, answer.headers["Location"])["result"]

    done = take_in(body)
    reason = "has no number or id, or one that cannot be one: write a number as +15550100200"
    error = {"line": 3, "field": "aliases", "reason": reason}
    assert done == {"created": 2, "updated": 0, "unchanged": 0, "failed": 1, "errors": [error]}
    again = take_in(body.replace(b"Ada", b"Ada Lovelace"))
    assert (again["created"], again["updated"], again["unchanged"], again["failed"]) == (0, 1, 1, 1)
    ada = of(api_env, "/api/v2/contacts/beta/15550108601")
    assert (ada["name"], ada["tags"], ada["customFields"]) == ("Ada Lovelace", ["vip", "navy"], {"Customer": "4711"})
    for form, kind in (("csv", "text/csv; charset=utf-8"), ("vcard", "text/vcard; charset=utf-8")):
        file = api_env.call("GET", f"{place}?format={form}")
        assert (file.status_code, file.headers["Content-Type"]) == (200, kind)
        assert "attachment" in file.headers["Content-Disposition"]
        before = of(api_env, "/api/v2/contacts/beta?limit=200")
        assert take_in(file.content, form) == {
            "created": 0,
            "updated": 0,
            "unchanged": len(before["contacts"]),
            "failed": 0,
            "errors": [],
        }
        assert of(api_env, "/api/v2/contacts/beta?limit=200") == before
    assert b"'=1+1" in api_env.call("GET", place).content, "no formula to a spreadsheet"
    odd = [
        "phone,customFields",
        '15550108603,"{""x"":NaN}"',
        '15550108604,"{""x"":""\\ud800""}"',
        "1555010860,[" + "[" * 9999,
    ]
    errors = take_in("\n".join(odd).encode())["errors"]
    assert [(error["field"], error["reason"].partition(":")[0]) for error in errors] == [
        ("customFields/x", "must be a number that is not infinite"),
        ("customFields/x", "holds half of a surrogate pair, which is no character"),
        ("customFields", "is not JSON"),
    ]
    assert problem(begin(b"\xff\xfe"))["type"] == "contact_file_invalid"
    assert problem(begin(b"nothing", "vcard"))["type"] == "contact_file_invalid"
    assert len(api_env.sql("SELECT id FROM events WHERE company_id = 'beta' AND type = 'contact.created'")) >= 2
