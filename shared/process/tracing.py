"""Traces by OpenTelemetry's standard variables (OTEL_EXPORTER_OTLP_ENDPOINT, …); off unless an endpoint is set.

This file knows no library: it is imported everywhere, and `shared.process.otel` only by a process that traces. A span
names what was done and how it ended, and never holds a text, a number or a chat.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from shared.errors import SettingsInvalid
from shared.kinds import ProcessKind
from shared.origin import continued
from shared.process.packages import missing_package

PREFIX: Final = "OTEL_"
"""Of the variables that the library reads itself; the orchestrator passes them to kinds that trace."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_DISABLED: Final = "OTEL_SDK_DISABLED"

_LIBRARY: Final = "opentelemetry"

SpanKind = Literal["server", "client", "consumer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceSpan:
    """One piece of work that has ended.

    Attributes:
        name: what was done; few different ones. parent: W3C trace context of what it is part of; empty: nothing.
        context: its own, where it was given away before the end; empty: a new one. began_at, ended_at: seconds since
            1970. attributes: bounded facts. error: code of what went wrong; empty: nothing did.
    """

    name: str
    kind: SpanKind
    parent: str
    began_at: float
    ended_at: float
    context: str = ""
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    error: str = ""


class Tracer(Protocol):
    """What a process records spans with. Used in the event loop alone."""

    is_on: bool
    """Whether spans go anywhere; without it they need not be made."""

    def continued(self, traceparent: str) -> str:
        """Return the trace of a request: the client's with a span of ours, or a new one if it sent none that is valid;
        its flag says whether it is recorded.
        """

    def record(self, span: TraceSpan) -> None:
        """Record a span, if its trace is one that is recorded; never waits and never raises."""

    def close(self, within_s: float) -> None:
        """Send what is left; waits, so not in the event loop."""


class NoTracer:
    """Records nothing."""

    is_on = False

    def continued(self, traceparent: str) -> str:
        """See `Tracer`; a trace is recorded elsewhere if the client says so."""
        return continued(traceparent)

    def record(self, _: TraceSpan) -> None:
        """Record nothing."""

    def close(self, _: float) -> None:
        """There is nothing to send."""


NO_TRACER: Final = NoTracer()


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces. Raises `SettingsInvalid` for what is not supported."""
    if environ.get(_DISABLED, "").strip().lower() == "true":
        return False
    exporter = environ.get(_EXPORTER, "").strip() or "otlp"
    if exporter == "none" or not any(environ.get(name, "").strip() for name in _ENDPOINTS):
        return False
    problems = [] if exporter == "otlp" else [f"{_EXPORTER}={exporter} is not supported; it may be otlp or none"]
    protocol = next((value for name in _PROTOCOLS if (value := environ.get(name, "").strip())), _PROTOCOL)
    if protocol != _PROTOCOL:
        problems.append(f"{_PROTOCOLS[1]}={protocol} is not supported; it may be {_PROTOCOL}, usually on port 4318")
    if problems:
        raise SettingsInvalid(problems)
    return True


def keep_out() -> None:
    """Let nothing load the library before a process traces: other libraries would, wherever it is installed, for
    figures of their own.
    """
    sys.modules.setdefault(_LIBRARY, None)  # type: ignore[arg-type] # `None` is how Python spells that


def let_in() -> None:
    """Let the library be loaded from now on."""
    if sys.modules.get(_LIBRARY, sys) is None:
        del sys.modules[_LIBRARY]


def open_tracer(kind: ProcessKind, *, slot: str, incarnation: str) -> Tracer:
    """Return what this process traces with. Raises `SettingsInvalid` when traces are asked for and cannot be made."""
    if not kind.traces or not is_asked_for(os.environ):
        return NO_TRACER
    let_in()
    try:
        # loaded here alone: without an endpoint the library's failure cannot reach the process
        otel: Any = importlib.import_module("shared.process.otel")
    except ModuleNotFoundError as error:
        if missing_package(error, kind) is None:
            raise
        raise SettingsInvalid(
            [
                f"{_ENDPOINTS[1]} is set, and the package {error.name} of the extra otel is not installed: "
                "pip install '.[otel]', or remove the variable"
            ]
        ) from None
    tracer: Tracer = otel.OtelTracer(kind=kind.name, slot=slot, incarnation=incarnation)
    return tracer
