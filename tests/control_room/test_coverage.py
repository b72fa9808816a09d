"""What an operator can change through the API: all of it on a page of the control room, by a command, or listed here
with the reason why not. Read from the code of both, without running either."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from script.openapi import openapi_document
from tests.support.environment import REPOSITORY

pytestmark = pytest.mark.fast

APPLICATION = "made by the tenant's own application, with the key of its company"
CHANGED_BY_FORM = "a form with many fields, or a file: the page has it, scripts use the API"
NEITHER = {
    "deregisterNumber": "ends a number at Meta for good: by the API alone, on purpose",
    "registerNumber": "part of the embedded signup, which does it by itself",
    "importContacts": APPLICATION,
    "mergeContacts": APPLICATION,
    "splitContact": APPLICATION,
    "updateContact": APPLICATION,
    "putFunction": APPLICATION,
    "removeFunction": APPLICATION,
    "addService": APPLICATION,
    "addSlots": APPLICATION,
    "uploadTenantDocument": "another path of uploadDocument",
}
"""Operations that neither a page nor a command carries out."""
ONLY_ON_A_PAGE = {
    "resolveMessage": "a person decides on each, with its history in sight",
    "putSecret": "a secret in a command line is seen by others on the machine; `connections` and `env` take files",
    "removeSecret": "beside the page's list of them",
    "exportCompany": CHANGED_BY_FORM,
    "updateCompany": CHANGED_BY_FORM,
    "setCompanyLimits": CHANGED_BY_FORM,
    "setKeyLimits": CHANGED_BY_FORM,
    "changeBusinessProfile": CHANGED_BY_FORM,
    "signUp": CHANGED_BY_FORM,
    "createTemplate": CHANGED_BY_FORM,
    "syncTemplates": CHANGED_BY_FORM,
    "removeTemplate": CHANGED_BY_FORM,
    "uploadDocument": CHANGED_BY_FORM,
    "reindexDocument": CHANGED_BY_FORM,
    "removeDocument": CHANGED_BY_FORM,
}
"""Operations that no command carries out."""
WITHOUT_THE_API = {
    "restartProcess": "restart.py",
    "drainProcess": "drain.py",
    "runDoctor": "doctor.py",
    "replayRawEvent": "webhooks.py",
    "replayRawEvents": "webhooks.py",
}
"""Operations whose command works without the API, and its file."""


class Change(NamedTuple):
    """An operation that changes something and is audited."""

    name: str
    method: str
    path: str

    def is_in(self, text: str) -> bool:
        """Whether a file of requests makes this one: its method, the beginning of its path, the words after it."""
        beginning, *rest = [part.strip("/") for part in re.split(r"\{[^}]+\}", self.path)]
        words = [part for part in rest if part]
        method = "upload(" if self.method == "POST" and "upload(" in text else f'"{self.method}"'
        return (
            (f'"{self.method}"' in text or method in text)
            and re.search(rf"{re.escape(beginning)}(?![\w-]*/[a-z])[\"/`{{]", text) is not None
            and all(re.search(rf"\b{re.escape(word)}\b", text) for word in words)
        )


@cache
def changes() -> list[Change]:
    return [
        Change(operation["operationId"], method.upper(), path)
        for path, operations in openapi_document()["paths"].items()
        for method, operation in operations.items()
        if isinstance(operation, dict) and "x-audit" in operation
    ]


def files(folder: str, pattern: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / Path(folder)).glob(pattern))}


def pages() -> list[str]:
    """The text of each page, with that of the other pages whose functions it uses."""
    found = files("api/operators/dashboard", "page_*.js")
    uses = {name: re.findall(r'from "/dashboard/(page_\w+\.js)"', text) for name, text in found.items()}
    return [text + "".join(found[one] for one in uses[name]) for name, text in found.items()]


def test_what_can_be_changed_is_on_a_page_and_in_a_command() -> None:
    commands = files("supervision/commands", "*.py").values()
    on_page = {one.name for one in changes() if any(one.is_in(text) for text in pages())}
    by_command = {one.name for one in changes() if any(one.is_in(text) for text in commands)} | {*WITHOUT_THE_API}
    every = {one.name for one in changes()}
    assert len(every) > 50
    assert by_command - on_page == set(), "a command can do it and no page"
    assert every - on_page - by_command == {*NEITHER}
    assert on_page - by_command == {*ONLY_ON_A_PAGE}


def test_commands_without_the_api_exist() -> None:
    for name, file in WITHOUT_THE_API.items():
        assert (REPOSITORY / "supervision" / "commands" / file).exists(), name
