"""The registry of kinds, backoff, beats, metrics and shapes."""

from __future__ import annotations

import importlib
import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import BackoffPolicy
from shared.kinds import KINDS, admin_port, kind_named, next_admin_offset
from shared.messages import InboundMessage, OutboundMessage
from shared.needs import NEEDS
from shared.process.beats import Beats
from shared.process.metrics import SERIES_MOST, Metrics
from shared.settings import variables, visible_fields
from shared.store.messages import NewMessage
from tests.support import environment


class TestKinds:
    def test_names_are_unique(self) -> None:
        assert len({kind.name for kind in KINDS}) == len(KINDS)

    def test_every_row_names_what_exists(self) -> None:
        for kind in KINDS:
            assert (environment.REPOSITORY / kind.entry).is_file(), kind.entry
            assert all(name in {other.name for other in KINDS} for name in kind.after)
            assert kind.needed in NEEDS and kind.instances <= kind.instances_most
            assert (environment.REPOSITORY / kind.room / "__init__.py").is_file(), kind.room
            secret = {name for name in visible_fields(kind) if variables()[name.upper()].secret}
            assert secret == set(kind.secrets), "secrets are listed as such, and nothing else is"
            if kind.job:
                module, _, function = kind.job.rpartition(".")
                assert callable(getattr(importlib.import_module(module), function))

    def test_no_kinds_wait_for_each_other_in_a_circle(self) -> None:
        started: list[str] = []
        while len(started) < len(KINDS):
            next_ones = [kind.name for kind in KINDS if kind.name not in started and set(kind.after) <= set(started)]
            assert next_ones, f"a circle among {[kind.name for kind in KINDS if kind.name not in started]}"
            started += next_ones

    def test_every_slot_has_an_admin_port_of_its_own(self) -> None:
        used = [admin_port(3200, kind, instance) for kind in KINDS for instance in range(kind.instances_most)]
        assert len(set(used)) == len(used)
        assert all(3200 <= port < 3200 + next_admin_offset() for port in used)
        assert {kind.name: admin_port(3200, kind, 0) for kind in KINDS[:7]} == {
            "api": 3200,
            "webdriver": 3210,
            "meta": 3220,
            "recorder": 3230,
            "sandbox": 3240,
            "postgres": 3250,
            "redis": 3260,
        }, "ports that operators know do not move"

    def test_there_is_room_for_more_than_ten_kinds(self) -> None:
        rows = KINDS
        for number in range(20):
            rows = (*rows, replace(KINDS[0], name=f"kind{number}", port=0, admin_offset=next_admin_offset(rows)))
        assert admin_port(3200, rows[-1], 9) == 3200 + next_admin_offset() + 199

    def test_finding_them(self) -> None:
        assert kind_named("meta").name == "meta"
        with pytest.raises(KeyError, match="no process kind 'smtp'; known: api"):
            kind_named("smtp")


class TestBackoff:
    def test_the_first_does_not_wait_and_then_it_doubles_up_to_the_cap(self) -> None:
        assert [
            BackoffPolicy(base_s=2.0, cap_s=30.0).wait_s(failures) for failures in (0, 0, 1, 2, 3, 4, 5, 6, 10**6)
        ] == [
            0,
            0,
            2,
            4,
            8,
            16,
            30,
            30,
            30,
        ]

    @given(st.integers(0, 10**9), st.floats(0, 100), st.floats(0, 100), st.integers())
    def test_jitter_is_anything_up_to_it(self, attempt: int, base_s: float, cap_s: float, seed: int) -> None:
        policy = BackoffPolicy(base_s=base_s, cap_s=cap_s)
        assert 0 <= policy.jittered_s(attempt, random.Random(seed).uniform) <= policy.wait_s(attempt) <= cap_s

    def test_it_spreads(self) -> None:
        luck = random.Random(1)
        waits = [BackoffPolicy(base_s=1.0, cap_s=30.0).jittered_s(4, luck.uniform) for _ in range(200)]
        assert min(waits) < 1.0
        assert max(waits) > 7.0


class TestBeats:
    def test_a_loop_is_fresh_while_it_beats(self) -> None:
        now = [0.0]
        beats = Beats(lambda: now[0])
        mill = beats.loop("mill", 2.0)
        beats.loop("press", 10.0)
        now[0] = 1.9
        assert beats.stale() == []
        now[0] = 2.0
        assert beats.stale() == ["mill"]
        mill.beat()
        now[0] = 9.9
        assert beats.stale() == ["mill"]
        now[0] = 10.0
        assert sorted(beats.stale()) == ["mill", "press"]
        beats.forget("press")
        beats.forget("press")
        mill.beat()
        assert beats.stale() == []

    def test_a_declared_pause_is_no_stall_and_ends_with_a_beat(self) -> None:
        now = [0.0]
        beats = Beats(lambda: now[0])
        mill = beats.loop("mill", 2.0)
        with mill.blocking(5.0):
            now[0] = 6.9
            assert beats.stale() == []
            now[0] = 7.0
            assert beats.stale() == ["mill"]
        assert beats.stale() == []
        now[0] = 9.0
        assert beats.stale() == ["mill"]


class TestMetrics:
    def test_names_exposition_and_snapshot(self) -> None:
        metrics = Metrics()
        metrics.counter("sends", "Sends.", ("code",)).labels("ok").inc(2)
        metrics.gauge("depth", "Depth.", read=lambda: 3.5)
        metrics.histogram("send_seconds", "Time.").observe(0.2)
        text = metrics.exposition().decode()
        assert 'bulkhead_sends_total{code="ok"} 2.0' in text
        assert "bulkhead_depth 3.5" in text
        assert metrics.snapshot() == {
            "sends_total{code=ok}": 2.0,
            "depth": 3.5,
            "send_seconds_count": 1.0,
            "send_seconds_sum": 0.2,
        }

    def test_label_values_are_bounded(self) -> None:
        counter = Metrics().counter("guesses", "Guesses.", ("word",))
        for number in range(SERIES_MOST + 50):
            counter.labels(str(number)).inc()
        values = {sample.labels["word"]: sample.value for sample in counter.family().samples}
        assert len(values) == SERIES_MOST + 1
        assert values["other"] == 50

    def test_a_name_exists_once(self) -> None:
        metrics = Metrics()
        metrics.gauge("depth", "Depth.")
        with pytest.raises(ValueError, match="bulkhead_depth exists"):
            metrics.histogram("depth", "Depth.")

    def test_two_processes_in_one_do_not_share_figures(self) -> None:
        one, two = Metrics(), Metrics()
        one.counter("sends", "Sends.").inc()
        two.counter("sends", "Sends.")
        assert two.snapshot() == {"sends_total": 0.0}

    def test_what_is_no_number_does_not_reach_the_database(self) -> None:
        metrics = Metrics()
        metrics.gauge("odd", "Odd.").set(float("nan"))
        metrics.gauge("endless", "Endless.").set(float("inf"))
        metrics.gauge("plain", "Plain.").set(1)
        assert json.loads(json.dumps(metrics.snapshot(), allow_nan=False)) == {"plain": 1.0}


def test_no_text_and_no_number_shows_when_a_message_is_printed() -> None:
    """An error's text or a debugger's line may hold it, and goes into logs."""
    private: dict[str, Any] = {"chat_id": "491701234567", "content": {"body": "dear diary"}}
    outbound = OutboundMessage(
        id=7,
        company_id="acme",
        connection_id=1,
        connection_type="wwebjs",
        type="text",
        attempt=1,
        token="",
        incarnation="i",
        **private,
    )
    new = NewMessage(company_id="acme", connection_id=1, process_name="meta", type="text", **private)
    inbound = InboundMessage(
        connection_id=1,
        provider_id="p",
        sender="491701234567",
        sender_name="Dear Friend",
        type="text",
        at=datetime.now(UTC),
        **private,
    )
    for shown in map(repr, (outbound, new, inbound)):
        assert "1234567" not in shown
        assert "ear" not in shown
    assert "id=7" in repr(outbound)
