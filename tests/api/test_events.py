"""The feed of events over HTTP: pages, long polls, streams, and their end with the process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from api.events.feed import Places
from api.http.problems import Problem
from shared.messages import InboundMessage
from shared.store import inbound
from tests.api.api_env import KEY, ApiEnv, problem
from tests.support.waiting import eventually, joined

FEED = "/api/v2/events/alpha"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def receive(env: ApiEnv, *names: str, company: str = "alpha") -> None:
    """Let messages come in."""
    (row,) = env.sql("SELECT id FROM phone_configs WHERE company_id = %s AND phone_index = 0", company)
    for name in names:
        message = InboundMessage(
            connection_id=row["id"],
            provider_id=f"{company}-{name}",
            chat_id="15550100777",
            sender="15550100777",
            from_me=False,
            type="text",
            content={"body": name},
            at=NOW,
        )
        env.run(inbound.insert, [(message, None)])


def read(env: ApiEnv, path: str, most: int) -> requests.Response:
    """Return a page of so many events: they are shown once no earlier transaction runs any more."""
    answers: list[requests.Response] = []

    def all_shown() -> bool:
        answers.append(env.call("GET", path))
        return len(answers[-1].json()["events"]) >= most

    eventually(all_shown, 10.0, lambda: f"{most} events at {path}: {answers[-1].text}")
    return answers[-1]


def texts(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [event["data"]["message"]["message"] for event in answer.json()["events"]]


@pytest.fixture
def now(api_env: ApiEnv) -> str:
    """The end of the stream."""
    after: str = api_env.call("GET", f"{FEED}?after=latest").json()["next"]
    return after


def test_pages_lead_through_everything_once(api_env: ApiEnv, now: str) -> None:
    receive(api_env, *(f"page {number}" for number in range(5)))
    shown = read(api_env, f"{FEED}?after={now}&types=message.received", 5)
    found: list[str] = []
    after = now
    while page := texts(answer := api_env.call("GET", f"{FEED}?after={after}&limit=2&types=message.received")):
        assert len(page) <= 2
        found, after = found + page, answer.json()["next"]
    assert found == texts(shown) == [f"page {number}" for number in range(5)]
    again = api_env.call("GET", f"{FEED}?after={shown.json()['events'][1]['id']}&types=message.received")
    assert texts(again) == found[2:], "an event's id is a position too"


def test_companies_see_their_own_and_the_installation_sees_all(api_env: ApiEnv, now: str) -> None:
    receive(api_env, "own of alpha")
    receive(api_env, "own of beta", company="beta")
    everything = read(api_env, f"/api/v2/events?after={now}&types=message.received", 2)
    assert texts(api_env.call("GET", f"{FEED}?after={now}&types=message.*")) == ["own of alpha"]
    assert texts(api_env.call("GET", f"/api/v2/events/beta?after={now}")) == ["own of beta"]
    assert texts(everything) == ["own of alpha", "own of beta"]
    assert problem(api_env.call("GET", "/api/v2/events/nobody"))["type"] == "company_unknown"
    assert (
        problem(api_env.call("GET", "/api/v2/events/nobody", headers={"Prefer": "wait=5"}))["type"] == "company_unknown"
    )
    assert api_env.call("GET", "/api/v2/events/empty").json()["events"] == []


def test_a_wait_ends_with_the_first_event(api_env: ApiEnv, now: str) -> None:
    answers: list[requests.Response] = []

    def wait() -> None:
        with requests.Session() as client:
            client.trust_env = False
            headers = {"X-API-Key": KEY, "Prefer": "wait=30"}
            answers.append(
                client.get(f"{api_env.url}{FEED}?after={now}&types=message.received", headers=headers, timeout=40)
            )

    waiting = [threading.Thread(target=wait) for _ in range(5)]
    for one in waiting:
        one.start()
    receive(api_env, "stranger", company="beta")
    receive(api_env, "awaited")
    for one in waiting:
        joined(one, 20)
    assert [texts(answer) for answer in answers] == [["awaited"]] * 5
    assert {answer.headers["Preference-Applied"] for answer in answers} == {"wait=30"}


def test_a_wait_without_an_event_leads_on(api_env: ApiEnv, now: str) -> None:
    answer = api_env.call("GET", f"{FEED}?after={now}&types=template.updated", headers={"Prefer": "wait=1"})
    assert answer.json()["events"] == []
    receive(api_env, "later")
    assert texts(read(api_env, f"{FEED}?after={answer.json()['next']}&types=message.received", 1)) == ["later"]


@pytest.mark.parametrize(
    ("query", "headers", "kind"),
    [
        ("after=x", {}, "query_invalid"),
        ("after=1152921504606846976-1", {}, "query_invalid"),
        ("limit=0", {}, "query_invalid"),
        ("limit=501", {}, "query_invalid"),
        ("types=message.recieved", {}, "query_invalid"),
        ("types=process.*", {}, "query_invalid"),
        ("types=,", {}, "query_invalid"),
        ("before=1-1", {}, "query_invalid"),
        ("", {"Last-Event-ID": "latest"}, "header_invalid"),
        ("after=x", {"Accept": "text/event-stream"}, "query_invalid"),
    ],
)
def test_what_cannot_be_read_is_refused(api_env: ApiEnv, query: str, headers: dict[str, str], kind: str) -> None:
    refused = api_env.call("GET", f"{FEED}?{query}", headers=headers)
    assert (refused.status_code, problem(refused)["type"]) == (400, kind)


def test_events_that_are_gone_are_said_to_be_gone(api_env: ApiEnv, now: str) -> None:
    assert api_env.send().status_code == 202
    (first,) = api_env.sql("SELECT min(xid) AS xid FROM events_messages")
    api_env.sql("INSERT INTO event_horizons (parent, xid, id) VALUES ('events_messages', %s, 0)", first["xid"])
    refused = api_env.call("GET", f"{FEED}?after={first['xid'] - 1}-0")
    assert (refused.status_code, problem(refused)["type"]) == (410, "events_expired")
    api_env.sql("DELETE FROM event_horizons")


class Stream:
    """A client of server-sent events."""

    def __init__(self, env: ApiEnv, query: str, **headers: str) -> None:
        shown = {"X-API-Key": KEY, "Accept": "text/event-stream", **headers}
        self._session = requests.Session()
        self._session.trust_env = False
        self.answer = self._session.get(f"{env.url}{FEED}?{query}", headers=shown, stream=True, timeout=30)
        self._lines = self.answer.iter_lines()

    def frames(self) -> Iterator[dict[str, str]]:
        """Yield events as (id, event, data), until the stream ends."""
        frame: dict[str, str] = {}
        for raw in self._lines:
            line = raw.decode()
            if not line and "data" in frame:
                yield frame
            if not line:
                frame = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                frame[name] = value

    def close(self) -> None:
        self.answer.close()
        self._session.close()


def text_of(frame: dict[str, str]) -> str:
    event: dict[str, Any] = json.loads(frame["data"])
    assert (event["id"], event["type"]) == (frame["id"], frame["event"])
    text: str = event["data"]["message"]["message"]
    return text


def test_a_stream_goes_on_where_it_broke(api_env: ApiEnv, now: str) -> None:
    receive(api_env, "before")
    with closing(Stream(api_env, f"after={now}&types=message.received")) as stream:
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        frames = stream.frames()
        first = next(frames)
        assert text_of(first) == "before"
        receive(api_env, "line\nbreak")
        assert text_of(next(frames)) == "line\nbreak"
    receive(api_env, "meanwhile")
    with closing(Stream(api_env, f"after={now}&types=message.received", **{"Last-Event-ID": first["id"]})) as stream:
        frames = stream.frames()
        assert [text_of(next(frames)) for _ in range(2)] == ["line\nbreak", "meanwhile"]


def test_a_drain_ends_streams_and_waits_at_once(home: Path, database_url: str, redis_url: str) -> None:
    with ApiEnv(home, database_url, redis_url) as env:
        env.seed().start()
        now = env.call("GET", f"{FEED}?after=latest").json()["next"]
        waited: list[requests.Response] = []

        def wait() -> None:
            waited.append(env.call("GET", f"{FEED}?after={now}", headers={"Prefer": "wait=50"}, timeout=60))

        waiting = threading.Thread(target=wait)
        with closing(Stream(env, f"after={now}")) as stream:
            receive(env, "seen")
            frames = stream.frames()
            assert text_of(next(frames)) == "seen"
            waiting.start()
            joined(waiting, 10)
            assert texts(waited.pop()) == ["seen"]
            after = env.call("GET", f"{FEED}?after=latest").json()["next"]
            now = after
            waiting = threading.Thread(target=wait)
            waiting.start()
            eventually(lambda: followers(env) == 2, 10.0, "the stream and the wait")
            env.entry.process.terminate()
            joined(waiting, 10)
            assert not waiting.is_alive()
            assert waited[0].json()["events"] == []
            assert list(frames) == [], "it ended"
        assert env.entry.wait_exit() == 0


def test_one_company_leaves_places_to_the_others() -> None:
    places = Places(4)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(places.one("alpha"))
        with pytest.raises(Problem) as refused, places.one("alpha"):
            pass
        assert refused.value.name == "too_many_waiting"
        for company_id in ("beta", None):
            stack.enter_context(places.one(company_id))
        with pytest.raises(Problem), places.one("gamma"):
            pass
    with places.one("gamma"):
        pass


def followers(env: ApiEnv) -> int:
    health: dict[str, Any] = requests.get(f"{env.admin}/health", timeout=5).json()
    count: int = health["eventFollowers"]
    return count
