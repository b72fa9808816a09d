"""Traces: when they are on, and what a real receiver of OTLP gets."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from shared.errors import SettingsInvalid
from shared.kinds import kind_named
from shared.process.tracing import NO_TRACER, Tracer, TraceSpan, is_asked_for, open_tracer
from tests.support.otlp import OtlpReceiver

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("environ", "is_on"),
    [
        ({}, False),
        ({ENDPOINT: " "}, False),
        ({ENDPOINT: "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "mine", "OTEL_TRACES_SAMPLER": "always_on"}, False),
    ],
)
def test_it_is_off_unless_an_endpoint_is_set(environ: dict[str, str], *, is_on: bool) -> None:
    assert is_asked_for(environ) == is_on


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin is not supported"),
    ],
)
def test_what_is_not_supported_is_a_sentence(more: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        is_asked_for({ENDPOINT: "http://127.0.0.1:4318", **more})
    assert said in refused.value.problems[0]


def test_a_kind_that_does_not_trace_never_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert open_tracer(kind_named("api"), slot="api-0", incarnation="a") is NO_TRACER
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    assert open_tracer(kind_named("recorder"), slot="recorder-0", incarnation="a") is NO_TRACER


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.delitem(sys.modules, "shared.process.otel", raising=False)
    with pytest.raises(SettingsInvalid) as refused:
        open_tracer(kind_named("api"), slot="api-0", incarnation="a")
    assert "pip install '.[otel]'" in refused.value.problems[0]


def test_without_one_a_trace_is_what_the_client_says() -> None:
    assert NO_TRACER.continued(CLIENT)[:36] == f"00-{TRACE}-"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", NO_TRACER.continued("no trace"))


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as opened:
        yield opened


@pytest.fixture
def tracer(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracer]:
    yield from opened(receiver, monkeypatch)


def opened(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[Tracer]:
    """Open a tracer by variables of the environment, which the library reads itself."""
    given = {ENDPOINT: receiver.url, "OTEL_SERVICE_NAME": "mine", **variables}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    made: Any = open_tracer(kind_named("meta"), slot="meta-0", incarnation="meta-0.a")
    assert made.is_on
    yield made
    made._provider.shutdown()


def test_spans_have_the_ids_that_were_given_away(tracer: Tracer, receiver: OtlpReceiver) -> None:
    own = tracer.continued(CLIENT)
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", own)
    assert own != CLIENT
    tracer.record(
        TraceSpan(name="POST /x", kind="server", parent=CLIENT, context=own, began_at=100.0, ended_at=100.5,
             attributes={"http.response.status_code": 202})
    )  # fmt: skip
    tracer.record(TraceSpan(name="send x", kind="client", parent=own, began_at=101.0, ended_at=100.9, error="timeout"))
    tracer.close(5.0)
    post, send = receiver.spans()
    assert (post.trace_id, post.span_id, post.parent_id) == (TRACE, own[36:52], CLIENT[36:52])
    assert (post.name, post.kind, post.began_at, post.ended_at) == ("POST /x", "SERVER", 100.0, 100.5)
    assert post.attributes == {"http.response.status_code": 202}
    assert (send.trace_id, send.parent_id, send.error) == (TRACE, own[36:52], "timeout")
    assert (send.kind, send.began_at, send.ended_at) == ("CLIENT", 101.0, 101.0), "a clock that was set back"
    assert send.span_id not in (post.span_id, "0" * 16)
    assert post.resource["service.name"] == "mine"
    assert (post.resource["bulkhead.kind"], post.resource["bulkhead.slot"]) == ("meta", "meta-0")


def test_a_trace_that_begins_here_is_recorded_as_the_sampler_says(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded(sampler: str, given: str) -> tuple[str, int]:
        """Return the flags of a request's trace, and how many of its two spans arrived."""
        before = len(receiver.spans())
        for tracer in opened(receiver, monkeypatch, OTEL_TRACES_SAMPLER=sampler):
            own = tracer.continued(given)
            tracer.record(TraceSpan(name="a", kind="server", parent=given, context=own, began_at=1.0, ended_at=2.0))
            # as another process does, which knows nothing but the context
            tracer.record(TraceSpan(name="b", kind="client", parent=own, began_at=1.0, ended_at=2.0))
            tracer.close(5.0)
        return own[-2:], len(receiver.spans()) - before

    not_recorded = CLIENT[:-2] + "00"
    assert recorded("parentbased_always_on", "") == ("01", 2)
    assert recorded("parentbased_always_on", CLIENT) == ("01", 2)
    assert recorded("parentbased_always_on", not_recorded) == ("00", 0)
    assert recorded("parentbased_always_off", "") == ("00", 0)
    assert recorded("parentbased_always_off", CLIENT) == ("01", 2)


def test_a_broken_header_begins_a_trace(tracer: Tracer, receiver: OtlpReceiver) -> None:
    own = tracer.continued("00-not hexadecimal-at all")
    tracer.record(
        TraceSpan(name="a", kind="server", parent="00-not hexadecimal-at all", context=own, began_at=1.0, ended_at=2.0)
    )
    tracer.close(5.0)
    (span,) = receiver.spans()
    assert (span.trace_id, span.parent_id) == (own[3:35], "")
