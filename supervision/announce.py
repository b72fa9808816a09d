"""Progress for a terminal: one readable line per change while processes start and stop, and a summary when all are
up."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

from shared.needs import need_of
from shared.settings import Settings
from shared.states import SlotState
from supervision.decisions.model import WAITING, Slot, State
from supervision.environment import ChildConfig

# A number from the range that the North American numbering plan reserves for examples (555-0100 to 555-0199).
_DEMO_CHAT: Final = "15550100200"


class Announcer:
    """Writes to `stream`; None: nowhere."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._config: ChildConfig | None = None
        self._all_up = False

    def begin(self, config: ChildConfig, counts: Mapping[str, int]) -> None:
        """Print what will run and where its data is."""
        self._config = config
        kinds = ", ".join(f"{kind} ×{count}" if count > 1 else kind for kind, count in counts.items() if count)
        if kinds:
            self.note(f"Bulkhead in {config.settings.bulkhead_home}: {kinds}")

    def slot_changed(self, slot: Slot, now: float) -> None:
        """Print the new state of a slot."""
        words = {
            SlotState.STARTING: "starting",
            SlotState.READY: f"ready after {now - slot.started_at:.1f} s"
            if slot.ready_at is not None and not slot.adopted
            else "ready",
            SlotState.UNREADY: f"adopted, process {slot.pid}"
            if slot.adopted and slot.ready_at is None
            else f"not ready: {slot.status or 'no reason given'}",
            SlotState.DRAINING: f"draining ({slot.cause.value})" if slot.cause.value != "none" else "draining",
            SlotState.KILLING: self._why_killed(slot),
            SlotState.BACKOFF: f"{self._how(slot)}; next try in {max(0.0, (slot.next_try_at or now) - now):.1f} s",
            SlotState.QUARANTINED: f"QUARANTINED after {self._how(slot)}; next probe in "
            f"{max(0.0, (slot.next_try_at or now) - now):.0f} s",
            SlotState.MISCONFIGURED: f"MISCONFIGURED: {slot.last_exit.last_words if slot.last_exit else ''} "
            f"(see logs/{slot.name}.err.log)",
            SlotState.STOPPED: "stopped",
        }
        # Slots that are created stopped and are not needed would only add lines.
        if not (slot.state is SlotState.STOPPED and not slot.incarnation):
            self.note(f"  {slot.name:<12} {words[slot.state]}")

    def check_all_up(self, state: State) -> bool:
        """Print the summary the first time that every slot that should run is ready or known to be sick, and return
        whether this was it."""
        if self._all_up or self._config is None or state.stopping or not state.configured:
            return False
        conditional = {row.name for row in state.rows if need_of(row).reported and state.counts.get(row.name)}
        # The recorder has not reported yet: which kinds are needed is not known.
        if conditional and state.desired is None:
            return False
        expected = [
            slot for slot in state.slots.values() if slot.kind not in conditional or slot.kind in (state.desired or ())
        ]
        # Quarantined and misconfigured slots do not hold up the summary, which lists them; one in backoff is still
        # trying.
        if not expected or any(
            slot.state is not SlotState.READY and slot.state not in WAITING - {SlotState.BACKOFF} and not slot.held
            for slot in expected
        ):
            return False
        self._all_up = True
        # Only to a person at a terminal: output in a file or a service manager's log would keep the key.
        shows_key = self._stream is not None and self._stream.isatty()
        for line in summary(
            self._config, [slot for slot in expected if slot.state is not SlotState.READY], shows_key=shows_key
        ):
            self.note(line)
        return True

    def stopping(self, request: int) -> None:
        """Print that a stop was requested."""
        self.note(
            {1: "Stopping: finishing what is in hand. Once more: at once.", 2: "Stopping now."}.get(
                request, "Killing what is left."
            )
        )

    def note(self, text: str) -> None:
        """Print one line. A closed terminal does not end supervision."""
        if self._stream is None:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except OSError:
            self._stream = None

    @staticmethod
    def _how(slot: Slot) -> str:
        return f"exit: {slot.last_exit}" if slot.last_exit else slot.status or "no start"

    @staticmethod
    def _why_killed(slot: Slot) -> str:
        if slot.main_gone:
            return f"left ({slot.last_exit})"
        return f"is ended: {slot.cause.value}" if slot.cause.value != "none" else "is ended"


def summary(config: ChildConfig, sick: list[Slot], *, shows_key: bool) -> list[str]:
    """Return the lines that a newcomer needs once everything is up. A pipe or a file gets the place of the API key
    instead of the key."""
    settings = config.settings
    place = _key_file(settings)
    # A command line that reads the key from its file works when copied, without showing it.
    key = settings.api_key if shows_key else f"$(cat {shlex.quote(str(place))})" if place else "$API_KEY"
    lines = [f"Up, except {slot.name}: {slot.state.value} (see logs/{slot.name}.err.log)" for slot in sick] or [
        "Everything is up."
    ]
    if not config.counts.get("api"):
        return lines
    lines += [
        "",
        f"  Dashboard   http://{_host(settings)}:{settings.port('api')}/dashboard",
        f"  API key     {f'{key}   ' if shows_key else ''}({f'kept in {place}' if place else 'from API_KEY'})",
    ]
    # in so many words: a real token under the sandbox is refused, and a trial under real credentials reaches people
    lines.append(
        "  Messages    go to the sandbox and reach no person (SANDBOX, docs/connections.md)"
        if config.uses_sandbox
        else "  Messages    go to the real providers and reach people"
    )
    if config.uses_sandbox:
        lines += [
            "",
            "  A first message, from the demo company's first connection:",
            "",
            "  curl -X POST "
            f"http://{_host(settings)}:{settings.port('api')}/api/v2/messages/text/{settings.company_id}/{_DEMO_CHAT} "
            "\\",
            f'    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\',
            '    -d \'{"message":"Hello","phoneIndex":0}\'',
        ]
    return [*lines, "", "  Ctrl-C stops everything."]


def _key_file(settings: Settings) -> Path | None:
    """Return the file that holds the API key; None when the operator set it."""
    kept = settings.path("api_key")
    is_kept = kept.exists() and kept.read_text(encoding="utf-8").strip() == settings.api_key
    return kept if is_kept else None


def _host(settings: Settings) -> str:
    # compared, not bound
    host = "127.0.0.1" if settings.bind_address in ("0.0.0.0", "::", "") else settings.bind_address  # noqa: S104
    return f"[{host}]" if ":" in host else host
