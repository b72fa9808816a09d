"""Limits of keys and companies: counted over all processes, refused with the time to wait, shown to clients."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.clock import monotonic
from shared.settings import Settings
from shared.store import limits as stored
from shared.store.limits import Spent
from shared.tenancy.limits import FILES, MESSAGES, REQUESTS, WAITS, LimitPolicy, LimitRules, Limits
from tests.api.api_env import CHAT, ApiEnv, problem
from tests.store.env import open_store
from tests.support.waiting import eventually
from tests.tenants.making import new_key

CONNECTIONS = "/api/v2/connections/alpha"


class NoStore:
    """A store that nothing asks."""


def limited(api_env: ApiEnv, company: str | None = "alpha", **limits: float) -> dict[str, Any]:
    made = new_key(api_env, company)
    answer = api_env.call("PUT", f"/api/v2/keys/{made['id']}/limits", json=limits)
    assert answer.status_code == 200, answer.text
    return made


def policy(rate: float, capacity: float, kind: Any = REQUESTS) -> LimitPolicy:
    return LimitPolicy(f"key:1:{kind.label}", f"key-{kind.label}", kind, rate, capacity)


def test_a_bucket_gives_what_it_holds_and_then_its_rate() -> None:
    now = 100.0
    limits, policies = Limits(NoStore(), lambda: now), [policy(2.0, 4.0)]  # type: ignore[arg-type] # nothing asks it
    assert [limits.take(policies, REQUESTS) for _ in range(4)] == [None] * 4
    exceeded = limits.take(policies, REQUESTS)
    assert exceeded is not None
    assert exceeded.wait_s == 1
    now += 0.5
    assert limits.take(policies, REQUESTS) is None
    assert limits.take(policies, REQUESTS) is not None
    now += 1000
    assert [limits.take(policies, REQUESTS) is None for _ in range(5)] == [True] * 4 + [False], (
        "never above its capacity"
    )
    assert limits.take(policies, MESSAGES) is None, "another kind"


def test_more_than_there_is_is_waited_for_by_the_next() -> None:
    now = 100.0
    limits, policies = Limits(NoStore(), lambda: now), [policy(1.0, 10.0, FILES)]  # type: ignore[arg-type]
    assert limits.take(policies, FILES, 0) is None
    limits.spend(policies, FILES, 30)
    exceeded = limits.take(policies, FILES, 0)
    assert exceeded is not None
    assert exceeded.wait_s == 21
    now += 21
    assert limits.take(policies, FILES, 0) is None


def test_of_two_limits_the_narrower_decides_and_nothing_is_spent() -> None:
    now = 100.0
    limits = Limits(NoStore(), lambda: now)  # type: ignore[arg-type]
    wide, narrow = policy(1.0, 10.0), policy(1.0, 1.0)._replace(bucket="company:a:requests", label="company-requests")
    assert limits.take([wide, narrow], REQUESTS) is None
    exceeded = limits.take([wide, narrow], REQUESTS)
    assert exceeded is not None
    assert exceeded.policy.label == "company-requests"
    assert [(one.label, left, full) for one, left, full in limits.state([wide, narrow])] == [
        ("key-requests", 9, 1),
        ("company-requests", 0, 1),
    ]


def test_open_waits_are_counted_while_they_last() -> None:
    limits, policies = Limits(NoStore()), [policy(0.0, 1.0, WAITS)]  # type: ignore[arg-type]
    with limits.waiting(policies) as full:
        assert full is None
        with limits.waiting(policies) as second:
            assert second is not None
    with limits.waiting(policies) as full:
        assert full is None


def test_settings_hold_where_a_key_or_company_has_no_limit_of_its_own() -> None:
    rules = LimitRules(Settings(limit_requests_per_second=5.0, company_limit_open_waits=3))
    found = {one.label: (one.rate, one.capacity) for one in rules.policies(7, {}, "demo", {})}
    assert found == {"key-requests": (5.0, 50.0), "company-waits": (0.0, 3)}
    [only] = rules.policies(7, {"requestsPerSecond": 0.01}, "demo", {"openWaits": 0})
    assert (only.label, only.rate) == ("key-requests", 0.01), "0 is no limit"
    assert rules.policies(7, {"requestsPerSecond": 0}, None, None) == ()
    assert LimitRules(Settings()).policies(7, {}, "demo", {}) == (), "no limits by default"


@pytest.mark.parametrize("value", [5e-324, 1e-300, 1e9])
def test_no_limit_is_so_slow_or_fast_that_it_cannot_be_counted(api_env: ApiEnv, value: float) -> None:
    made = limited(api_env, requestsPerSecond=value, messagesPerSecond=value, fileMegabytesPerHour=value)
    statuses = [api_env.call("GET", CONNECTIONS, key=made["key"]).status_code for _ in range(2)]
    assert statuses == ([200, 200] if value > 1 else [200, 429])
    # what was spent is written: a number that PostgreSQL refused ended every process of the API
    eventually(lambda: api_env.sql("SELECT name FROM limit_buckets WHERE name = %s", f"key:{made['id']}:requests"), 5)


@pytest.mark.parametrize(
    "headers",
    [
        {"Prefer": "return=minimal, wait=5"},
        [("Prefer", "return=minimal"), ("Prefer", "wait=5")],
        {"Accept": "text/event-stream"},
    ],
)
def test_no_spelling_of_a_wait_goes_around_its_limit(api_env: ApiEnv, headers: Any) -> None:
    made = limited(api_env, openWaits=1)
    place = urlsplit(api_env.url)
    path = "/api/v2/events/alpha?after=latest&types=session.*"
    with ExitStack() as stack:

        def ask() -> HTTPResponse:
            one = stack.enter_context(closing(HTTPConnection(place.hostname or "", place.port, timeout=10)))
            one.putrequest("GET", path)
            for name, value in [
                ("X-API-Key", made["key"]),
                *(headers.items() if isinstance(headers, dict) else headers),
            ]:
                one.putheader(name, value)
            one.endheaders()
            return one.getresponse()

        with ThreadPoolExecutor(2) as pool:
            statuses = [one.result().status for one in [pool.submit(ask) for _ in range(2)]]
    assert sorted(statuses) == [200, 429]


def test_a_key_over_its_limit_is_refused_with_the_time_to_wait(api_env: ApiEnv) -> None:
    made = limited(api_env, requestsPerSecond=0.5)
    answers = [api_env.call("GET", CONNECTIONS, key=made["key"]) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    refused = problem(answers[-1])
    assert (refused["type"], refused["policy"]) == ("limit_exceeded", "key-requests")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2
    assert answers[0].headers["RateLimit-Policy"] == '"key-requests";q=5;w=10'
    assert answers[0].headers["RateLimit"].startswith('"key-requests";r=4;t=')
    assert answers[-1].headers["RateLimit"].startswith('"key-requests";r=0;t=')
    assert api_env.call("GET", CONNECTIONS, key=new_key(api_env)["key"]).status_code == 200, "another key"
    assert "RateLimit" not in api_env.call("GET", CONNECTIONS).headers
    eventually(lambda: api_env.call("GET", CONNECTIONS, key=made["key"]).status_code == 200, 5)


def test_messages_are_counted_apart_from_requests(api_env: ApiEnv) -> None:
    made = limited(api_env, messagesPerSecond=0.1)

    def send() -> Any:
        return api_env.call("POST", f"/api/v2/messages/text/alpha/{CHAT}", key=made["key"], json={"message": "x"})

    assert send().status_code == 202
    assert problem(send())["policy"] == "key-messages"
    assert api_env.call("GET", CONNECTIONS, key=made["key"]).status_code == 200


def test_bytes_of_files_are_counted_as_they_arrive(api_env: ApiEnv) -> None:
    made = limited(api_env, fileMegabytesPerHour=0.1)
    chunks = [b"x" * 60_000]
    for status in (201, 201, 429):
        # in chunks: what is counted is what arrives and not what a header claims
        answer = api_env.call("POST", "/api/v2/media/alpha", key=made["key"], data=iter([*chunks, b"%d" % status]))
        assert answer.status_code == status, answer.text
    assert answer.headers["RateLimit-Policy"] == '"key-files";q=100000;w=3600;qu="content-bytes"'
    assert int(answer.headers["Retry-After"]) > 600


def test_open_waits_of_a_key_are_limited(api_env: ApiEnv) -> None:
    made = limited(api_env, openWaits=1)
    api_env.call("POST", "/api/v2/connections/alpha/0/pause")
    began = threading.Event()

    def send() -> int:
        began.set()
        answer = api_env.call(
            "POST",
            f"/api/v2/messages/text/alpha/{CHAT}",
            key=made["key"],
            json={"message": "waits"},
            headers={"Prefer": "wait=5"},
        )
        return int(answer.status_code)

    with ThreadPoolExecutor(2) as pool:
        statuses = [one.result() for one in [pool.submit(send) for _ in range(2)]]
    assert sorted(statuses) == [202, 429]
    assert send() == 202, "the place is free again"
    api_env.call("POST", "/api/v2/connections/alpha/0/resume")


def test_a_company_has_one_limit_for_all_of_its_keys(api_env: ApiEnv) -> None:
    keys = [new_key(api_env, "beta")["key"] for _ in range(3)]
    answer = api_env.call("PUT", "/api/v2/companies/beta/limits", json={"requestsPerSecond": 0.5})
    assert answer.json() == {
        "limits": {
            "requestsPerSecond": 0.5,
            "messagesPerSecond": None,
            "fileMegabytesPerHour": None,
            "openWaits": None,
        }
    }
    statuses = [api_env.call("GET", "/api/v2/connections/beta", key=key).status_code for key in keys * 3]
    assert (statuses.count(200), statuses.count(429)) == (5, 4)
    assert api_env.call("GET", "/api/v2/connections/beta").status_code == 200, "the installation's keys do not count"
    assert api_env.call("PUT", "/api/v2/companies/beta/limits", json={}).status_code == 200
    # within a second, as every change of a key
    eventually(lambda: api_env.call("GET", "/api/v2/connections/beta", key=keys[0]).status_code == 200, 3)


def test_two_processes_share_a_limit(api_env: ApiEnv, second: ApiEnv) -> None:
    """What both allow over a few seconds is what one limit allows."""
    made, lasts_s, rate = limited(api_env, requestsPerSecond=10), 3.0, 10.0
    by = monotonic() + lasts_s

    def flood(process: ApiEnv) -> int:
        allowed = 0
        while monotonic() < by:
            allowed += process.call("GET", CONNECTIONS, key=made["key"]).status_code == 200
        return allowed

    with ThreadPoolExecutor(2) as pool:
        allowed = sum(pool.map(flood, (api_env, second)))
    # a burst of ten seconds' worth, then the rate; at most a burst more before they know of each other
    assert allowed <= rate * 10 * 2 + rate * lasts_s

    def tokens() -> float:
        [row] = api_env.sql("SELECT tokens FROM limit_buckets WHERE name = %s", f"key:{made['id']}:requests")
        return float(row["tokens"])

    # everything that was allowed was taken from one bucket, to which some seconds have added until it was written
    eventually(lambda: tokens() <= rate * 10 - allowed + rate * (lasts_s + 4) + 1, 5, tokens)


def test_what_is_spent_is_taken_from_what_came_in_since(api_env: ApiEnv) -> None:
    one = Spent("test:bucket", 10.0, 1000.0, 4.0)
    assert api_env.run(stored.spend, [one]) == {"test:bucket": 6.0}
    eventually(lambda: api_env.run(stored.spend, [one])["test:bucket"] == 6.0, 5)
    low = Spent("test:slow", 10.0, 0.0, 25.0)
    assert [api_env.run(stored.spend, [low])["test:slow"] for _ in range(2)] == [-15.0, -40.0]


def test_a_company_key_sets_no_limits(api_env: ApiEnv) -> None:
    key = new_key(api_env, "alpha")
    for path in (f"/api/v2/keys/{key['id']}/limits", "/api/v2/companies/alpha/limits"):
        assert problem(api_env.call("PUT", path, key=key["key"], json={}))["type"] == "installation_only"
    assert problem(api_env.call("PUT", "/api/v2/keys/999999/limits", json={}))["type"] == "key_unknown"
    assert problem(api_env.call("PUT", "/api/v2/companies/nobody/limits", json={}))["type"] == "company_unknown"
    assert problem(api_env.call("PUT", "/api/v2/keys/1/limits", json={"openWaits": -1}))["type"] == "body_invalid"


def test_a_key_inherits_the_limits_of_the_key_that_makes_it(api_env: ApiEnv) -> None:
    maker = new_key(api_env, "alpha")
    assert api_env.call("PUT", f"/api/v2/keys/{maker['id']}/limits", json={"requestsPerSecond": 7}).status_code == 200
    made = api_env.call("POST", "/api/v2/keys", key=maker["key"], json={"name": "made", "scopes": ["read"]})
    assert made.status_code == 201, made.text
    assert made.json()["limits"]["requestsPerSecond"] == 7


def test_a_bucket_that_cannot_be_written_stops_no_other(api_env: ApiEnv) -> None:
    """What exactly is refused does not matter; PostgreSQL has no zero byte in a text."""

    with closing(open_store(api_env.database_url)) as store:
        limits = Limits(store)
        for name in ("test:\0poison", "test:sound"):
            limits.spend([LimitPolicy(name, name, REQUESTS, 1.0, 10.0)], REQUESTS, 4.0)
        asyncio.run(limits.share())
    assert [row["tokens"] for row in api_env.sql("SELECT tokens FROM limit_buckets WHERE name = 'test:sound'")] == [6.0]
