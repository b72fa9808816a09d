"""People of a company over all its connections: list, read, change, merge and split."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.problems import Problem
from api.reading.chats import SEARCH_RULE, SEARCH_SCHEMA, number_of
from shared.channels import chat_ids
from shared.compose.contact_entries import CHANGES, LONGEST_TAG, require_fields
from shared.compose.directory import Directory, require_possible
from shared.conversations import rows
from shared.events.message_json import JsonObject
from shared.fields import Field, FieldsInvalid, checked, exactly_one, json_schema
from shared.store import contacts
from shared.store.contacts import ChangeRefused, Noted, Person
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.timestamps import iso

_PATH: Final = "/api/v2/contacts/{companyId}"
_ONE: Final = f"{_PATH}/{{contactId}}"
_PAGE: Final = 50
LONGEST_PAGE: Final = 200
_BODY_LIMIT: Final = 65536
_OWN_ID: Final = re.compile(r"p([0-9]{1,18})")
_NOT_BLANK: Final = (("pattern", "[0-9A-Za-z]"),)
"""Of every id."""
_MERGE: Final = (
    Field(
        name="contactId",
        kind=str,
        required=True,
        shortest=1,
        longest=chat_ids.LONGEST,
        documented=_NOT_BLANK,
        purpose="Who becomes the same contact, by id or alias.",
    ),
)
_SPLIT: Final = (
    Field(
        name="mergeId",
        kind=str,
        longest=18,
        purpose="A merge to undo: the other contact is as it was before.",
        documented=(("pattern", "^[0-9]{1,18}$"),),
    ),
    Field(
        name="aliases",
        kind=list,
        items=Field(kind=str, shortest=1, longest=chat_ids.LONGEST, documented=_NOT_BLANK),
        fewest=1,
        most=contacts.ALIASES_MOST,
        purpose="In place of a merge: aliases that become a contact of their own.",
    ),
)
_TAG: Final = Parameter(
    name="tag",
    place="query",
    purpose="Only those with this tag, in capitals or not.",
    schema={"type": "string", "minLength": 1, "maxLength": LONGEST_TAG, "pattern": r"^[^\x00]+$"},
    rule=f"a tag of at most {LONGEST_TAG} characters",
)


class ContactOperations:
    """The operations on people."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return them."""
        known = ("company_unknown", "contact_unknown")
        return [
            Operation(
                operation_id="listContacts",
                method="GET",
                path=_PATH,
                scope="read",
                group="Contacts",
                summary="People who wrote to the company, were written to, or were imported",
                handler=self.show_all,
                parameters=(
                    Parameter(
                        name="q",
                        place="query",
                        purpose="Only those with any of these words in a name, the last word may go on, or with a "
                        "number that begins with these digits.",
                        schema=SEARCH_SCHEMA,
                        rule=SEARCH_RULE,
                    ),
                    _TAG,
                    limit("Contacts in one page.", default=_PAGE, most=LONGEST_PAGE),
                    cursor(),
                ),
                answers={200: ("One page, in the order in which they became known.", "Contacts")},
                problems=("company_unknown", "query_invalid"),
            ),
            Operation(
                operation_id="getContact",
                method="GET",
                path=_ONE,
                scope="read",
                group="Contacts",
                summary="One contact, by its id or any alias",
                handler=self.show,
                answers={200: ("The contact.", "Contact")},
                problems=known,
            ),
            Operation(
                operation_id="updateContact",
                method="PATCH",
                path=_ONE,
                scope="manage",
                group="Contacts",
                summary="Change name, tags and custom fields",
                handler=self.change,
                body=json_schema(CHANGES),
                examples=({"name": "Ada Lovelace", "tags": ["vip"], "customFields": {"customerNumber": "4711"}},),
                answers={200: ("The contact as it is now.", "Contact")},
                problems=(*known, "contact_refused", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="mergeContacts",
                method="POST",
                path=f"{_ONE}/merge",
                scope="manage",
                group="Contacts",
                summary="Make another contact the same as this one; their chats are one chat",
                handler=self.merge,
                body=json_schema(_MERGE),
                examples=({"contactId": "p18"},),
                answers={200: ("The contact as it is now; `merges` has what `split` takes.", "Contact")},
                problems=(*known, "contact_refused", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="splitContact",
                method="POST",
                path=f"{_ONE}/split",
                scope="manage",
                group="Contacts",
                summary="Undo a merge, or make a contact of some aliases",
                handler=self.split,
                body={**json_schema(_SPLIT), **exactly_one(("mergeId", "aliases"))},
                examples=({"mergeId": "7"}, {"aliases": ["15550100200"]}),
                answers={200: ("The other contact.", "Contact")},
                problems=(*known, "contact_refused", *BODY_PROBLEMS),
            ),
        ]

    async def show_all(self, request: Request) -> Response:
        """Answer with one page of people."""
        company_id, query = request.path_params["companyId"], query_of(request)
        require_possible(company_id)
        most, own = query["limit"], self._store.as_company(company_id)
        # one more than requested: its presence means that another page follows
        where = {"after": int(query["cursor"] or 0), "most": most + 1}
        if query["q"] is None and query["tag"] is None:
            ids = await own.call(contacts.page, company_id, **where)
        else:
            number = "" if query["q"] is None else number_of(query["q"])
            ids = await own.call(contacts.found, words=query["q"], number=number, tag=query["tag"], **where)
        people = await own.call(contacts.by_ids, company_id, ids[:most])
        if not people:
            await self._directory.require_company(company_id)
        following = str(ids[most - 1]) if len(ids) > most else None
        return JSONResponse({"contacts": [shown(one) for one in people], "next": following})

    async def show(self, request: Request) -> Response:
        """Answer with one person."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        return await self._answer(company_id, await self._person(company_id, request.path_params["contactId"]))

    async def change(self, request: Request) -> Response:
        """Change what the company noted about a person."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        given = checked(await read_json(request, limit=_BODY_LIMIT), CHANGES)
        noted = Noted(name=given["name"], tags=given["tags"], fields=given["customFields"])
        require_fields(noted.fields or {}, "/customFields")
        person_id = await self._person(company_id, request.path_params["contactId"])
        act = act_of(request)
        if act is not None:
            # names of fields, no values: they are about a person
            act.after = {"changed": sorted(name for name, value in given.items() if value is not None)}
        await self._try(recorded(act, contacts.change), company_id, person_id, noted)
        return await self._answer(company_id, person_id)

    async def merge(self, request: Request) -> Response:
        """Make one person of two."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        given = checked(await read_json(request, limit=_BODY_LIMIT), _MERGE)
        kept_id = await self._person(company_id, request.path_params["contactId"])
        other_id = await self._person(company_id, given["contactId"])
        done = await self._try(recorded(act_of(request), _merge), company_id, kept_id, other_id)
        if done is None:
            raise _unknown()
        return await self._answer(company_id, kept_id)

    async def split(self, request: Request) -> Response:
        """Make two people of one."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        given = checked(await read_json(request, limit=_BODY_LIMIT), _SPLIT)
        if (given["mergeId"] is None) == (given["aliases"] is None):
            raise FieldsInvalid([("", "must have exactly one of mergeId, aliases")])
        if given["mergeId"] is not None and not re.fullmatch(r"[0-9]{1,18}", given["mergeId"]):
            raise FieldsInvalid([("/mergeId", "must be the id of a merge")])
        person_id = await self._person(company_id, request.path_params["contactId"])
        work: Any
        if given["mergeId"] is not None:
            work = partial(contacts.undo_merge, merge_id=int(given["mergeId"]))
        else:
            work = partial(contacts.split, aliases=[canonical(alias) for alias in given["aliases"]])
        new_id = await self._try(recorded(act_of(request), work), company_id, person_id)
        if new_id is None:
            raise Problem("contact_refused", "The contact has no such merge.")
        return await self._answer(company_id, new_id)

    async def _person(self, company_id: str, given: str) -> int:
        """Return the id of the person that a path or body names. Raises `Problem` when there is none."""
        own = _OWN_ID.fullmatch(given)
        alias = "" if own else canonical(given)
        found = None
        if own or alias:
            found = await self._store.as_company(company_id).call(
                contacts.find, company_id, person_id=int(own[1]) if own else None, alias=alias
            )
        if found is None:
            await self._directory.require_company(company_id)
            raise _unknown()
        return found

    async def _try(self, work: Any, company_id: str, *args: Any) -> Any:
        try:
            return await self._store.as_company(company_id).call(work, company_id, *args)
        except ChangeRefused as error:
            raise Problem("contact_refused", str(error)) from None

    async def _answer(self, company_id: str, person_id: int) -> Response:
        found = await self._store.as_company(company_id).call(contacts.by_ids, company_id, [person_id])
        if not found:
            raise _unknown()
        return JSONResponse(shown(found[0]))


def _merge(transaction: Transaction, company_id: str, kept_id: int, other_id: int) -> int | None:
    merge_id = contacts.merge(transaction, company_id, kept_id, other_id)
    if merge_id is not None:
        # after their ids are one person's: what each connection has with it is one conversation
        rows.fold_person(transaction, company_id, kept_id)
    return merge_id


def _unknown() -> Problem:
    return Problem("contact_unknown", "The company has no such contact.")


def canonical(alias: str) -> str:
    """Return the one spelling of an alias; empty for what can be none."""
    try:
        return chat_ids.canonical(alias)
    except chat_ids.ChatInvalid:
        return ""


def shown(person: Person) -> JsonObject:
    """Return a person as clients see it."""
    row = person.row
    return {
        "id": f"p{row['id']}",
        "name": row["name"] or row["profile_name"] or None,
        "givenName": row["name"] or None,
        "profileName": row["profile_name"] or None,
        "username": row["username"] or None,
        "aliases": list(person.aliases),
        "phones": [alias for alias in person.aliases if re.fullmatch(r"[1-9][0-9]{6,14}", alias)],
        "tags": list(row["tags"]),
        "customFields": row["fields"],
        "marketing": [
            {"phoneIndex": said["phone_index"], "accepts": said["wants_marketing"], "at": iso(said["marketing_at"])}
            for said in person.marketing
        ],
        "merges": [
            {
                "mergeId": str(merge["id"]),
                "contactId": f"p{merge['other_id']}",
                "aliases": list(merge["aliases"]),
                "mergedAt": iso(merge["merged_at"]),
            }
            for merge in person.merges
        ],
        "firstSeenAt": iso(row["first_seen_at"]),
        "lastSeenAt": iso(row["last_seen_at"]),
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }
