"""Every operation of the API, walked with every kind of key: what each gets, and that no answer shows a
foreign client what exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from shared.tenancy.key_text import make_key
from shared.tenancy.principals import SCOPES
from tests.api.api_env import CHAT, PREFIX, ApiEnv
from tests.support.environment import REPOSITORY
from tests.tenants.making import expired_key, new_key, revoked_key, rotated_out_key


@dataclass(frozen=True)
class Walked:
    """One operation, as the document describes it."""

    method: str
    path: str
    scope: str
    owner: str
    audit: str

    def place(self, company: str) -> str:
        """Return a path of it; what it names beside the company is not there, so that nothing is really changed."""
        return self.path.format(
            companyId=company,
            chatId=CHAT,
            messageId=999_999,
            phoneIndex=9,
            process="api",
            taskId=999_999,
            hookId=999_999,
            silenceId=999_999,
            rawEventId=999_999,
            serviceId=999_999,
            exportId=999_999,
            contactId="p999999",
            conversationId=999_999,
            documentId=999_999,
            keyId=999_999,
            name="hello",
            sha256="0" * 64,
        )


@pytest.fixture(scope="module")
def walked(api_env: ApiEnv) -> list[Walked]:
    """Every operation that needs a key."""
    paths = api_env.call("GET", "/openapi.json", key=None).json()["paths"]
    found = [
        Walked(
            method.upper(),
            path,
            next(iter(operation["security"][0]["bearer"]), "any"),
            operation["x-owner"],
            operation.get("x-audit", ""),
        )
        for path, methods in paths.items()
        for method, operation in methods.items()
        if operation["security"]
    ]
    assert len(found) > 50
    return found


def comparable(answer: requests.Response) -> tuple[int, Mapping[str, Any], Mapping[str, str]]:
    """Return all of an answer that may differ between two companies: what a foreign client can compare."""
    body = {name: value for name, value in answer.json().items() if name != "instance"}
    headers = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
    return answer.status_code, body, headers


def short(answer: requests.Response) -> str:
    """Return status and problem type of an answer."""
    if answer.headers.get("Content-Type") != "application/problem+json":
        return str(answer.status_code)
    return f"{answer.status_code} {answer.json()['type'].removeprefix(PREFIX)}"


def test_every_operation_with_every_kind_of_key(api_env: ApiEnv, walked: list[Walked]) -> None:
    own: dict[str, str] = {scope: new_key(api_env, "alpha", scope)["key"] for scope in SCOPES}
    # `operate` includes `monitor`
    apart = {scope: {scope, "operate"} if scope == "monitor" else {scope} for scope in SCOPES}
    without: dict[str, str] = {
        scope: new_key(api_env, "alpha", *sorted(set(SCOPES) - apart[scope]))["key"] for scope in SCOPES
    }
    foreign = new_key(api_env, "beta")["key"]
    dead = {
        "expired": expired_key(api_env),
        "revoked": revoked_key(api_env),
        "rotated out": rotated_out_key(api_env),
        "never made": make_key(sandbox=False).text,
        "malformed": "bh_live_guess",
    }
    rows = []
    for one in walked:

        def call(key: str, company: str = "alpha", one: Walked = one) -> requests.Response:
            body: dict[str, str] | None = {} if one.method in ("POST", "PUT", "PATCH") else None
            return api_env.call(one.method, one.place(company), key=key, json=body)

        name, other = f"{one.method} {one.path}", call(foreign)
        mine = call(own["send" if one.scope == "any" else one.scope])
        if one.owner == "installation":
            assert short(mine) == "403 installation_only", name
        else:
            # it may be refused for what the request lacks, never for its key
            assert mine.status_code not in (401, 403), name
            assert "company_unknown" not in short(mine), name
        if one.scope != "any":
            refused = call(without[one.scope])
            assert short(refused) == "403 scope_missing", name
            assert comparable(refused) == comparable(call(without[one.scope], "nobody")), name
        if one.owner == "path":
            assert short(other) == "404 company_unknown", name
            assert comparable(other) == comparable(call(foreign, "nobody")) == comparable(call(foreign, "no%20body")), (
                name
            )
        elif one.owner == "installation":
            assert short(other) == "403 installation_only", name
        answers = {
            kind: api_env.call_from_a_new_address(
                one.method, one.place("alpha"), headers={"Authorization": f"Bearer {key}"}
            )
            for kind, key in dead.items()
        }
        for kind, answer in answers.items():
            assert short(answer) == "401 key_invalid", f"{name} with a key that is {kind}"
            assert comparable(answer) == comparable(answers["never made"]), f"{name} with a key that is {kind}"
        # what such an operation is about belongs to the key's company, or is as good as absent
        foreign_cell = "its own only" if one.owner == "principal" else short(other)
        rows.append(f"| `{name}` | {one.scope} | {foreign_cell} | {f'`{one.audit}`' if one.audit else ''} |")
    table = (REPOSITORY / "docs" / "keys.md").read_text().partition("## Every operation")[2]
    documented = re.findall(r"^\| `[A-Z]+ /.*$", table, re.MULTILINE)
    assert documented == sorted(rows), "docs/keys.md should have:\n" + "\n".join(sorted(rows))
