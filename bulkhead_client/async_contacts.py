"""Contacts, the company itself, and tasks."""

# script/client makes the module sync_… of the same name of this file
from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from bulkhead_client.async_core import AsyncCore
from bulkhead_client.models import Company, Contact, Task
from bulkhead_client.wire import Request, place

_LOOK_S: Final = 1.0
"""Seconds between two looks at a task."""
_ENDED: Final = ("done", "failed")


class AsyncContacts(AsyncCore):
    """The calls about contacts, the company and tasks; see `AsyncBulkhead`."""

    # contacts

    async def contacts(
        self, *, q: str | None = None, tag: str | None = None, company: str | None = None
    ) -> AsyncIterator[Contact]:
        """Give the people of a company, over all its connections. `q`: words of a name, or a number's first digits."""
        async for entry in self.pages(place("contacts", self._of(company)), "contacts", q=q, tag=tag):
            yield cast("Contact", entry)

    async def contact(self, contact: str, *, company: str | None = None) -> Contact:
        """Return one contact. `contact`: its id (`p17`), a phone number, or any other of its aliases."""
        return cast("Contact", await self.get(place("contacts", self._of(company), contact)))

    async def change_contact(
        self,
        contact: str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        custom_fields: Mapping[str, str | float | bool | None] | None = None,
        company: str | None = None,
    ) -> Contact:
        """Change a contact; None: as it is. `tags`: all of them. `custom_fields`: of them None removes one."""
        path = place("contacts", self._of(company), contact)
        given = {"name": name, "tags": None if tags is None else list(tags), "customFields": custom_fields}
        return cast("Contact", await self.call("PATCH", path, given))

    async def merge_contacts(self, contact: str, other: str, *, company: str | None = None) -> Contact:
        """Make `other` the same person as `contact`, and return it; its `merges` have what `split_contact` takes."""
        path = place("contacts", self._of(company), contact, "merge")
        return cast("Contact", await self.call("POST", path, {"contactId": other}))

    async def split_contact(
        self,
        contact: str,
        *,
        merge_id: str | None = None,
        aliases: Sequence[str] | None = None,
        company: str | None = None,
    ) -> Contact:
        """Undo a merge, or (in its place) make a contact of some aliases. Return the other contact."""
        path = place("contacts", self._of(company), contact, "split")
        given = {"mergeId": merge_id, "aliases": None if aliases is None else list(aliases)}
        return cast("Contact", await self.call("POST", path, given))

    async def import_contacts(
        self, content: bytes, form: Literal["csv", "vcard"] = "csv", *, company: str | None = None
    ) -> Task:
        """Add and change contacts by a file. The task's `result` counts them and lists what was wrong, by line; a
        task that is not done yet is waited for by `wait_for_task`.
        """
        request = Request(
            method="POST",
            path=place("contact-files", self._of(company)),
            query={"format": form},
            headers={"Content-Type": "text/csv" if form == "csv" else "text/vcard"},
            body=content,
        )
        # the server waits ten seconds for the task
        return cast("Task", (await self.exchange(request, 10.0)).json())

    async def export_contacts(self, form: Literal["csv", "vcard"] = "csv", *, company: str | None = None) -> bytes:
        """Return all contacts as a file."""
        path = place("contact-files", self._of(company))
        answer = await self.exchange(Request(method="GET", path=path, query={"format": form}))
        answer.require_success()
        return answer.body

    # the company itself, and tasks

    async def read_company(self, *, company: str | None = None) -> Company:
        """Return a company and its settings."""
        return cast("Company", await self.get(place("companies", self._of(company))))

    async def change_company(
        self, *, version: int | None = None, company: str | None = None, **changes: Any
    ) -> Company:
        """Change a company (a JSON merge patch) and return it. `version`: refused if it is another by now. `changes`:
        `name`, `inDoubtPolicy`, `settings`.
        """
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        request = Request(
            method="PATCH",
            path=place("companies", self._of(company)),
            headers={**headers, "Content-Type": "application/json"},
            # with null, which means the default
            body=json.dumps(changes).encode(),
        )
        return cast("Company", (await self.exchange(request)).json())

    async def export_company(self, *, company: str | None = None) -> Task:
        """Begin to make an archive of everything of a company; the result of the task has its `url`."""
        return cast("Task", await self.call("POST", place("companies", self._of(company), "export")))

    async def task(self, task_id: str, *, company: str | None = None) -> Task:
        """Return a task; `status` is `queued`, `running`, `done` or `failed`, `progress` how far it is."""
        return cast("Task", await self.get(place("tasks", self._of(company), task_id)))

    async def wait_for_task(self, task_id: str, within_s: float = 60.0, *, company: str | None = None) -> Task:
        """Return a task when it has ended, or as it is after `within_s` seconds."""
        by = self._transport.now() + within_s
        while True:
            found = await self.task(task_id, company=company)
            if found["status"] in _ENDED or self._transport.now() >= by:
                return found
            await self._transport.sleep(min(_LOOK_S, within_s))
