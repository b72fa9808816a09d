"""Companies: read, changed by a merge patch with a version, suspended and resumed, in every process within a second."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.clock import monotonic
from shared.errors import Refused
from shared.fields import FieldsInvalid
from shared.states import CompanyState
from shared.store import companies
from shared.tenancy.company_settings import CompanySettings, complete, merged, require_consistent
from shared.tenancy.known_companies import KnownCompanies
from shared.tenancy.remembered import REMEMBERED_S
from tests.api.api_env import ALPHA, CHAT, ApiEnv, problem
from tests.store.env import open_store
from tests.support.waiting import eventually
from tests.tenants.making import new_key

OWN = "/api/v2/companies/own"


@pytest.fixture(scope="module", autouse=True)
def own(api_env: ApiEnv) -> None:
    """A company of this module."""
    assert api_env.call("POST", "/api/v2/companies", json={"companyId": "own", "name": "Own"}).status_code == 201


def wrong(settings: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        require_consistent(settings, "/settings")
    except FieldsInvalid as error:
        return list(error.wrong)
    return []


def test_a_merge_patch_changes_what_it_names_and_null_restores_the_default() -> None:
    stored = merged({}, {"brandName": "Acme", "ragConfig": {"topK": 9, "weights": {"keyword": 1}}})
    stored = merged(stored, {"tone": "warm", "ragConfig": {"topK": None, "minSimilarity": 0.5}})
    assert stored == {
        "brandName": "Acme",
        "tone": "warm",
        "ragConfig": {"weights": {"keyword": 1}, "minSimilarity": 0.5},
    }
    full = complete(stored)
    assert full["ragConfig"]["topK"] == 5
    assert full["ragConfig"]["weights"] == {"keyword": 1, "vector": 0.7}
    assert full["humanHandoffKeywords"] == ["human", "agent", "help"]
    assert CompanySettings.read(stored).handoff_keywords == ("human", "agent", "help")
    assert merged({"locale": ["de", "en"]}, {"locale": ["fr"]}) == {"locale": ["fr"]}, "a list is replaced"


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"locale": ["german"]}, "/settings/locale/0"),
        ({"locale": ["de", "DE"]}, "/settings/locale/1"),
        ({"locale": []}, "/settings/locale"),
        ({"locale": ["en_US"]}, "/settings/locale/0"),
        ({"humanHandoffKeywords": ["human", "  "]}, "/settings/humanHandoffKeywords/1"),
        ({"humanHandoffKeywords": ["x" * 61]}, "/settings/humanHandoffKeywords/0"),
        ({"humanHandoffKeywords": [str(number) for number in range(51)]}, "/settings/humanHandoffKeywords"),
        ({"ragConfig": {"chunkSize": 63}}, "/settings/ragConfig/chunkSize"),
        ({"ragConfig": {"chunkSize": 100, "chunkOverlap": 51}}, "/settings/ragConfig/chunkOverlap"),
        ({"ragConfig": {"minSimilarity": 1.5}}, "/settings/ragConfig/minSimilarity"),
        ({"ragConfig": {"topK": 0}}, "/settings/ragConfig/topK"),
        ({"ragConfig": {"weights": {"keyword": 0, "vector": 0}}}, "/settings/ragConfig/weights"),
        ({"ragConfig": {"rerank": True}}, "/settings/ragConfig/rerank"),
        ({"brandname": "Acme"}, "/settings/brandname"),
        ({"enableRag": "yes"}, "/settings/enableRag"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], place: str) -> None:
    assert [at for at, _ in wrong(settings)] == [place]


@pytest.mark.parametrize("tag", ["en", "pt-BR", "zh-Hant-TW", "es-419", "de-1996", "sl-rozaj-biske", "en-a-bbb-x-ours"])
def test_language_tags_of_the_standard_are_taken(tag: str) -> None:
    assert wrong({"locale": [tag]}) == []


def test_a_company_reads_and_changes_itself(api_env: ApiEnv) -> None:
    key = new_key(api_env, "own", "manage")["key"]
    first = api_env.call("GET", OWN, key=key)
    body = first.json()
    assert (first.status_code, body["state"], body["settings"]) == (200, "active", complete({}))
    assert first.headers["ETag"] == f'"{body["version"]}"'
    patch = {"name": "Own & Co", "settings": {"brandName": "Own", "ragConfig": {"topK": 7}}}
    changed = api_env.call("PATCH", OWN, key=key, json=patch, headers={"If-Match": first.headers["ETag"]})
    assert changed.status_code == 200, changed.text
    assert changed.json()["name"] == "Own & Co"
    assert changed.json()["settings"]["ragConfig"]["topK"] == 7
    assert changed.headers["ETag"] != first.headers["ETag"]
    lost = api_env.call("PATCH", OWN, key=key, json={"name": "x"}, headers={"If-Match": first.headers["ETag"]})
    assert (lost.status_code, problem(lost)["type"]) == (412, "version_outdated")
    assert problem(lost)["version"] == changed.json()["version"]
    same = api_env.call("PATCH", OWN, key=key, json=patch)
    assert same.json()["version"] == changed.json()["version"], "nothing changed"
    reset = api_env.call("PATCH", OWN, key=key, json={"settings": None})
    assert reset.json()["settings"] == complete({})
    refused = api_env.call("PATCH", OWN, key=key, json={"settings": {"brandname": "x"}})
    assert [one["pointer"] for one in problem(refused)["errors"]] == ["/settings/brandname"]
    for action in ("suspend", "resume"):
        assert problem(api_env.call("POST", f"{OWN}/{action}", key=key, json={}))["type"] == "installation_only"


def test_a_change_is_in_the_audit_with_what_changed_alone(api_env: ApiEnv) -> None:
    after = api_env.call("GET", "/api/v2/audit?companyId=own&limit=200").json()["next"]
    api_env.call("PATCH", OWN, json={"settings": {"tone": "short"}})
    api_env.call("PATCH", OWN, json={"settings": {"tone": "short"}})
    found: list[dict[str, Any]] = []

    def one() -> bool:
        found[:] = api_env.call("GET", f"/api/v2/audit?companyId=own&after={after}").json()["events"]
        return len(found) == 1

    eventually(one, 5.0, "one event")
    assert found[0]["type"] == "audit.companies.changed"
    assert found[0]["data"]["after"] == {"settings": {"tone": "short"}}


def test_a_suspended_company_is_refused_in_every_process_within_a_second(api_env: ApiEnv, second: ApiEnv) -> None:
    key = new_key(api_env, "alpha")["key"]
    kept = api_env.send("before")
    assert kept.status_code == 202
    assert second.call("GET", "/api/v2/companies/alpha", key=key).status_code == 200, "the other process knows the key"
    try:
        assert api_env.call("POST", "/api/v2/companies/alpha/suspend").json()["state"] == "suspended"
        suspended_at = monotonic()
        eventually(
            lambda: second.call("GET", "/api/v2/companies/alpha", key=key).status_code == 403, 5.0, "it is refused"
        )
        assert monotonic() - suspended_at < REMEMBERED_S + 0.5
        refused = second.call("GET", "/api/v2/connections/alpha", key=key)
        assert problem(refused)["type"] == "company_suspended"
        eventually(lambda: api_env.send("during").status_code == 403, 5.0, "an operator's key sends nothing either")
        assert problem(api_env.send("during"))["type"] == "company_suspended"
        assert api_env.call("GET", "/api/v2/connections/alpha").status_code == 200, "operators still see it"
        path = f"/api/v2/messages/alpha/{CHAT}/{kept.json()['id']}"
        shown = api_env.call("GET", path).json()
        assert (shown["status"], shown["held"]) == ("queued", True)
    finally:
        assert api_env.call("POST", "/api/v2/companies/alpha/resume").json()["state"] == "active"
    assert not api_env.call("GET", path).json()["held"]
    eventually(lambda: api_env.send("after").status_code == 202, 5.0, "it sends again")
    eventually(lambda: second.call("GET", "/api/v2/companies/alpha", key=key).status_code == 200, 5.0, "its keys too")
    assert len(ALPHA) == api_env.call("GET", "/api/v2/companies/alpha").json()["connections"]


def test_known_companies_are_at_most_a_second_old(api_env: ApiEnv) -> None:
    now = 100.0
    store = open_store(api_env.database_url)

    async def look() -> None:
        known = KnownCompanies(store, lambda: now)

        async def tone() -> str:
            found = await known.find("beta")
            assert found is not None
            return found.settings.tone

        assert await tone() == ""
        api_env.call("PATCH", "/api/v2/companies/beta", json={"settings": {"tone": "dry"}})
        assert await tone() == "", "cached"
        nonlocal_advance(REMEMBERED_S)
        assert await tone() == "dry"
        assert await known.find("nobody") is None
        with pytest.raises(Refused, match="company_unknown"):
            await known.require_sending("nobody")

    def nonlocal_advance(by_s: float) -> None:
        nonlocal now
        now += by_s

    try:
        asyncio.run(look())
    finally:
        store.close()


def test_a_company_that_is_being_deleted_is_not_resumed(api_env: ApiEnv) -> None:
    api_env.call("POST", "/api/v2/companies", json={"companyId": "gone"})

    def delete(transaction: Any) -> None:
        row = companies.lock(transaction, "gone")
        assert row is not None
        companies.move(transaction, row, CompanyState.DELETING)

    api_env.run(delete)
    for method, path in (("POST", "/resume"), ("POST", "/suspend"), ("PATCH", "")):
        answer = api_env.call(method, f"/api/v2/companies/gone{path}", json={})
        assert problem(answer)["type"] == "company_deleting"
    assert api_env.call("GET", "/api/v2/companies/gone").json()["state"] == "deleting"
    assert problem(api_env.call("GET", "/api/v2/hooks/gone"))["type"] == "company_unknown"


def test_a_deletion_needs_the_id_once_more_and_ends_keys_at_once(api_env: ApiEnv) -> None:
    assert api_env.call("POST", "/api/v2/companies", json={"companyId": "ending"}).status_code == 201
    key = new_key(api_env, "ending")["key"]
    path = "/api/v2/companies/ending"
    for confirm in ("", "?confirm=other", "?confirm="):
        assert problem(api_env.call("DELETE", path + confirm))["parameter"] == "confirm"
    assert problem(api_env.call("DELETE", f"{path}?confirm=ending", key=key))["type"] == "installation_only"
    begun = api_env.call("DELETE", f"{path}?confirm=ending")
    assert begun.status_code == 202, begun.text
    task = begun.json()
    assert (task["status"], task["progress"]) == ("running", {"stage": "settling"})
    assert api_env.call("DELETE", f"{path}?confirm=ending").json()["id"] == task["id"], "the same task"
    assert api_env.call("GET", begun.headers["Location"]).json()["id"] == task["id"]
    eventually(lambda: api_env.call("GET", path, key=key).status_code == 401, 3.0, "its key has ended")
    assert api_env.call("GET", path).json()["state"] == "deleting"
    assert problem(api_env.call("GET", "/api/v2/connections/ending"))["type"] == "company_unknown"
    assert problem(api_env.call("DELETE", "/api/v2/companies/nobody?confirm=nobody"))["type"] == "company_unknown"
    (event,) = api_env.sql("SELECT company_id, data FROM events WHERE type = 'audit.companies.delete'")
    assert (event["company_id"], event["data"]["subject"]) == (None, {"companyId": "ending"}), "it outlives the company"
