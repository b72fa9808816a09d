"""Contacts, the company itself, and tasks."""

# made by script/client from the module async_… of the same name
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from bulkhead_client.models import Company, Contact, Task
from bulkhead_client.sync_core import SyncCore
from bulkhead_client.wire import Request, place

_LOOK_S: Final = 1.0
"""Seconds between two looks at a task."""
_ENDED: Final = ("done", "failed")


class SyncContacts(SyncCore):
    """The calls about contacts, the company and tasks; see `Bulkhead`."""

    # contacts

    def contacts(
        self, *, q: str | None = None, tag: str | None = None, company: str | None = None
    ) -> Iterator[Contact]:
        """Give the people of a company, over all its connections. `q`: words of a name, or a number's first digits."""
        for entry in self.pages(place("contacts", self._of(company)), "contacts", q=q, tag=tag):
            yield cast("Contact", entry)

    def contact(self, contact: str, *, company: str | None = None) -> Contact:
        """Return one contact. `contact`: its id (`p17`), a phone number, or any other of its aliases."""
        return cast("Contact", self.get(place("contacts", self._of(company), contact)))

    def change_contact(
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
        return cast("Contact", self.call("PATCH", path, given))

    def merge_contacts(self, contact: str, other: str, *, company: str | None = None) -> Contact:
        """Make `other` the same person as `contact`, and return it; its `merges` have what `split_contact` takes."""
        path = place("contacts", self._of(company), contact, "merge")
        return cast("Contact", self.call("POST", path, {"contactId": other}))

    def split_contact(
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
        return cast("Contact", self.call("POST", path, given))

    def import_contacts(
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
        return cast("Task", (self.exchange(request, 10.0)).json())

    def export_contacts(self, form: Literal["csv", "vcard"] = "csv", *, company: str | None = None) -> bytes:
        """Return all contacts as a file."""
        path = place("contact-files", self._of(company))
        answer = self.exchange(Request(method="GET", path=path, query={"format": form}))
        answer.require_success()
        return answer.body

    # the company itself, and tasks

    def read_company(self, *, company: str | None = None) -> Company:
        """Return a company and its settings."""
        return cast("Company", self.get(place("companies", self._of(company))))

    def change_company(self, *, version: int | None = None, company: str | None = None, **changes: Any) -> Company:
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
        return cast("Company", (self.exchange(request)).json())

    def export_company(self, *, company: str | None = None) -> Task:
        """Begin to make an archive of everything of a company; the result of the task has its `url`."""
        return cast("Task", self.call("POST", place("companies", self._of(company), "export")))

    def task(self, task_id: str, *, company: str | None = None) -> Task:
        """Return a task; `status` is `queued`, `running`, `done` or `failed`, `progress` how far it is."""
        return cast("Task", self.get(place("tasks", self._of(company), task_id)))

    def wait_for_task(self, task_id: str, within_s: float = 60.0, *, company: str | None = None) -> Task:
        """Return a task when it has ended, or as it is after `within_s` seconds."""
        by = self._transport.now() + within_s
        while True:
            found = self.task(task_id, company=company)
            if found["status"] in _ENDED or self._transport.now() >= by:
                return found
            self._transport.sleep(min(_LOOK_S, within_s))
