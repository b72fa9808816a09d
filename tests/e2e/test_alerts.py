"""Alerts, figures and traces of a real installation: something is broken until its alert fires, and mended until it
ends; a message is followed from its request to its last status.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from embedded import addresses
from script.declared_metrics import declared
from shared.store import messages
from shared.store.messages import NewMessage
from tests.conftest import kept_running
from tests.e2e.conversation import send, wait_state
from tests.hooks.env import Receiver
from tests.store.env import open_store
from tests.support.bulkhead import Bulkhead
from tests.support.database import query
from tests.support.otlp import OtlpReceiver
from tests.support.waiting import eventually

SOON_S = 45.0
KINDS = ("recorder", "api", "meta")
FACTOR = 0.03
"""Of the durations of all alerts: a minute becomes 1.8 seconds."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as opened:
        yield opened


@pytest.fixture(scope="module")
def pager() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def installation(prepared_home: Callable[[], Path], receiver: OtlpReceiver) -> Iterator[Bulkhead]:
    with kept_running(
        prepared_home,
        Bulkhead,
        kinds=KINDS,
        alert_time_factor=FACTOR,
        sandbox_restart_intensity=2,
        only="postgres,redis,recorder,api,meta,sandbox,hooks",
        otel_exporter_otlp_endpoint=receiver.url,
        otel_bsp_schedule_delay=200,
    ) as opened:
        yield opened


def on(installation: Bulkhead) -> set[tuple[str, str]]:
    """Return the alerts that are on: name, and slot or queue."""
    answer = installation.api("GET", "/api/v2/alerts?state=on&limit=200")
    answer.raise_for_status()
    return {
        (one["name"], one["labels"].get("slot") or one["labels"].get("queue", "")) for one in answer.json()["alerts"]
    }


def fires_and_ends(
    installation: Bulkhead, alert: tuple[str, str], break_it: Callable[[], Any], mend: Callable[[], Any]
) -> None:
    """Break something, see its alert, mend it and see the alert end; both have their event."""
    break_it()
    ask = partial(on, installation)
    eventually(
        lambda: alert in ask(), SOON_S, lambda: f"{alert} fires\n{installation.tail()}",
        ignoring=(requests.RequestException,),
    )  # fmt: skip
    mend()
    eventually(
        lambda: alert not in ask(), SOON_S, lambda: f"{alert} ends\n{installation.tail()}",
        ignoring=(requests.RequestException,),
    )  # fmt: skip
    types = {event["type"] for event in events_of(installation, alert[0])}
    assert types == {"alert.fired", "alert.ended"}


def events_of(installation: Bulkhead, name: str) -> list[dict[str, Any]]:
    """Return the events of an alert."""
    page = installation.api("GET", "/api/v2/events?types=alert.*&limit=200").json()
    return [event for event in page["events"] if event["data"]["name"] == name]


def figures(installation: Bulkhead) -> dict[str, dict[str, float]]:
    """Return the values of the address that shows all processes, by metric and slot."""
    text = installation.api("GET", "/metrics", key="").text
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values = found.setdefault(sample.name, {})
            slot = sample.labels.get("slot", "")
            values[slot] = values.get(slot, 0.0) + sample.value
    return found


@pytest.mark.timeout(400)
def test_what_is_broken_fires_and_what_is_mended_ends(installation: Bulkhead, pager: Receiver) -> None:
    wait_state(installation, send(installation, "before"), "delivered", "read")
    command = installation.command
    made = installation.api("POST", "/api/v2/installation/hooks", json={"url": pager.url, "types": ["alert.*"]})
    assert made.status_code == 201, made.text

    def quarantine() -> None:
        """Kill the sandbox each time that it is back, until its slot is in quarantine."""

        def is_quarantined() -> bool:
            pid = installation.pids().get("sandbox-0")
            if pid:
                os.kill(pid, signal.SIGKILL)
            slots = installation.api("GET", "/health/all").json()["processes"]
            return any(one["process"] == "sandbox" and one["state"] == "quarantined" for one in slots)

        eventually(is_quarantined, SOON_S, "the sandbox is in quarantine", ignoring=(ProcessLookupError,))

    fires_and_ends(installation, ("SlotQuarantined", "sandbox-0"), quarantine, lambda: command("restart", "sandbox"))
    fires_and_ends(
        installation,
        ("RedisUnavailable", "api-0"),
        lambda: command("drain", "redis"),
        lambda: command("restart", "redis"),
    )

    called = {
        (one.event["type"], one.event["data"]["name"])
        for one in eventually(lambda: list(pager.got) if len(pager.got) >= 2 else [], SOON_S, "the webhook is called")
    }
    assert ("alert.fired", "SlotQuarantined") in called

    # while it is away nothing can be asked: what was decided meanwhile is written when it is back
    def database_away() -> None:
        command("drain", "postgres")
        log = installation.home / "logs/recorder-0.err.log"
        eventually(lambda: '"DatabaseUnavailable"' in log.read_text(), SOON_S, "it is decided without the database")
        command("restart", "postgres")

    database_away()
    eventually(
        lambda: (
            {event["type"] for event in events_of(installation, "DatabaseUnavailable")}
            == {"alert.fired", "alert.ended"}
        ),
        SOON_S,
        "its events",
        ignoring=(requests.RequestException, KeyError),
    )

    url = addresses.database_url(installation.settings)

    def backlog() -> None:
        answer = installation.api("POST", "/api/v2/connections/demo/0/pause", json={})
        assert answer.ok, answer.text
        (demo,) = query(url, "SELECT id FROM phone_configs WHERE company_id = 'demo' AND phone_index = 0")
        rows = [
            NewMessage(
                company_id="demo",
                connection_id=demo["id"],
                process_name="meta",
                chat_id=f"1555010{number:04}",
                type="text",
                content={"body": "x"},
            )
            for number in range(1010)
        ]
        with closing(open_store(url, limit=1)) as store:
            store.run(messages.accept, rows)

    sent = "DELETE FROM messages WHERE state = 'queued'"
    fires_and_ends(installation, ("BacklogLarge", "meta"), backlog, lambda: query(url, sent))
    # stopped and not killed: what it says grows old all the same, and the suite watches over its processes
    fires_and_ends(
        installation,
        ("OrchestratorMissing", ""),
        lambda: installation.kill("orchestrator", signal.SIGSTOP),
        lambda: installation.kill("orchestrator", signal.SIGCONT),
    )


def test_every_figure_that_is_shown_is_in_the_table_and_every_instance_shows_the_same(installation: Bulkhead) -> None:
    known = {one.name for one in declared()}
    slots = {"api-0", "api-1", "meta-0", "meta-1"}
    eventually(
        lambda: slots <= figures(installation).get("bulkhead_process_uptime_seconds", {}).keys(),
        SOON_S,
        "every process has written its figures",
    )
    found = figures(installation)
    endings = ("_bucket", "_sum", "_count")
    shown = {next((name.removesuffix(end) for end in endings if name.endswith(end)), name) for name in found}
    assert shown <= known
    assert found["bulkhead_slot_up"]["meta-1"] == 1.0
    assert found["bulkhead_slot_restarts_total"]["sandbox-0"] >= 0
    port = installation.settings.admin_port + 19
    own = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert re.search(r'bulkhead_slot_up\{[^}]*slot="meta-0"[^}]*\} 1\.0', own), "the orchestrator shows its slots"
    assert requests.get(f"http://127.0.0.1:{port}/livez", timeout=10).status_code == 200
    assert requests.get(f"http://127.0.0.1:{port}/other", timeout=10).status_code == 404
    assert installation.command("alerts").stdout == "No alert is on.\n"


def test_a_message_is_one_trace_from_its_request_to_its_last_status(
    installation: Bulkhead, receiver: OtlpReceiver
) -> None:
    trace, client, text, chat = (
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00f067aa0ba902b7",
        "a text of somebody",
        "15550109911",
    )
    answer = installation.api(
        "POST",
        f"/api/v2/messages/text/demo/{chat}",
        # another connection than the one that is paused above
        json={"message": text, "phoneIndex": 3},
        headers={"traceparent": f"00-{trace}-{client}-01"},
    )
    assert answer.status_code == 202, answer.text

    def whole() -> dict[str, Any]:
        found = {span.name: span for span in receiver.spans() if span.trace_id == trace}
        return found if len(found) >= 5 else {}

    spans = eventually(whole, SOON_S, lambda: f"five spans of {[span.name for span in receiver.spans()]}")
    request, *others = (
        spans[name]
        for name in (
            "POST /api/v2/messages/text/{companyId}/{chatId}",
            "queue",
            "send meta_embedded",
            "status sent",
            "status delivered",
        )
    )
    assert (request.parent_id, request.kind, request.attributes["http.response.status_code"]) == (client, "SERVER", 202)
    assert {span.parent_id for span in others} == {request.span_id}
    assert {span.attributes["messaging.message.id"] for span in others} == {answer.json()["id"]}
    assert spans["send meta_embedded"].attributes["bulkhead.outcome"] == "Sent"
    assert request.began_at <= spans["send meta_embedded"].began_at <= spans["send meta_embedded"].ended_at
    assert [span.error for span in spans.values()] == [""] * 5
    assert {span.resource["bulkhead.kind"] for span in spans.values()} == {"api", "meta"}
    # nothing of what was said, and to whom, in any span of this installation
    everything = b"".join(receiver.bodies)
    assert text.encode() not in everything
    assert chat.encode() not in everything
    assert {span.resource["bulkhead.kind"] for span in receiver.spans()} == {"api", "meta"}, "no other kind traces"
