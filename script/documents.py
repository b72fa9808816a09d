"""Generates the parts of docs/ that come from the code, between `<!-- made by script/docs: NAME -->` and `<!-- end
-->`.

`script/docs` writes them, `script/docs --check` lists those that would change.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from script import api_pages, command_pages, grafana, kubernetes
from script.declared_metrics import declared
from shared.alert_rules import ALERT_RULES, expression, prometheus_rules
from shared.channels.channel import FileLimit
from shared.channels.registry import CHANNELS
from shared.conversations.states import MOVES, ConversationState
from shared.events.catalogue import PUBLIC_TYPES
from shared.events.schemas import EVENT_SCHEMAS, SCHEMA_OF
from shared.kinds import KIND_SETTINGS, KINDS, Variable
from shared.process import exit_codes
from shared.settings import child_variables, variables
from shared.states import MESSAGE_TRANSITIONS, OPEN_MESSAGE_STATES, SESSION_TRANSITIONS
from shared.troubles import TROUBLES

REPOSITORY = Path(__file__).parents[1]
_SECTION = re.compile(r"(<!-- made by script/docs: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _range(low: float | None, high: float | None, choices: tuple[str, ...] = ()) -> str:
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else ""


def settings_table(table: Mapping[str, Variable]) -> str:
    """Return the table of some variables."""
    rows = ["| variable | default | values | meaning |", "|---|---|---|---|"]
    for one in table.values():
        default = str(one.default)
        secret = " Secret." if one.secret else ""
        values = _range(one.low, one.high, one.choices)
        rows.append(f"| `{one.name}` | {f'`{default}`' if default else ''} | {values} | {one.purpose}{secret} |")
    return "\n".join(rows) + "\n"


def public_events_table() -> str:
    """Return the table of the types of events that clients see."""
    rows = ["| type | meaning | `data` |", "|---|---|---|"]
    for row in PUBLIC_TYPES:
        fields = ", ".join(f"`{name}`" for name in EVENT_SCHEMAS[SCHEMA_OF[row.shape]]["properties"])
        rows.append(f"| `{row.name}` | {row.purpose} | {fields} |")
    return "\n".join(rows) + "\n"


def kind_settings_table() -> str:
    """Return the table of the variables of each kind: a pattern each, with every kind's default."""
    names = [row.name for row in KINDS]
    rows = [f"| variable | {' | '.join(names)} | values | meaning |", f"|---|{'---|' * len(names)}---|---|"]
    for setting in KIND_SETTINGS:
        defaults = [f"{getattr(row, setting.field):g}" if setting.belongs_to(row) else "" for row in KINDS]
        values = _range(setting.low, setting.high)
        if setting.field == "instances":
            values = f"1 to {', '.join(sorted({str(row.instances_most) for row in KINDS}, key=int))}"
        rows.append(
            f"| `{setting.pattern.replace('{KIND}', '<KIND>')}` | {' | '.join(defaults)} | "
            f"{values} | {setting.purpose} |"
        )
    return "\n".join(rows) + "\n"


def visible_table() -> str:
    """Return the table of the settings that each kind's processes receive besides the common ones."""
    rows = ["| kind | secrets | other settings |", "|---|---|---|"]
    for row in KINDS:
        secrets, others = (
            ", ".join(f"`{name.upper()}`" for name in sorted(set(names))) for names in (row.secrets, row.settings)
        )
        rows.append(f"| {row.name} | {secrets} | {others} |")
    return "\n".join(rows) + "\n"


def exit_code_table() -> str:
    """Return the table of all exit codes, each with its docstring."""
    return command_pages.enum_table(Path(exit_codes.__file__), exit_codes.ExitCode)


def message_states() -> str:
    """Return the states of a message as a diagram (Mermaid), and as a table of the states that hold up their chat."""
    edges = [
        f"    {old} --> {new}"
        for old, following in MESSAGE_TRANSITIONS.items()
        for new in MESSAGE_TRANSITIONS
        if new in following
    ]
    rows = ["| from | to | holds up its chat |", "|---|---|---|"]
    for old, following in MESSAGE_TRANSITIONS.items():
        targets = " ".join(f"`{new}`" for new in MESSAGE_TRANSITIONS if new in following)
        rows.append(f"| `{old}` | {targets} | {'yes' if old in OPEN_MESSAGE_STATES else ''} |")
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> queued", *edges, "```", "", *rows]) + "\n"


def conversation_moves() -> str:
    """Return the moves of conversations as a table, and as a diagram (Mermaid) of a company with an assistant."""
    edges = [
        f"    {before} --> {after}: {name}"
        for name, move in MOVES.items()
        for before in ConversationState
        if before in move.before and (after := move.target(has_assistant=True)) != before
    ]
    rows = ["| move | from | to | without an assistant | when |", "|---|---|---|---|---|"]
    for name, move in MOVES.items():
        before = " ".join(f"`{state}`" for state in ConversationState if state in move.before)
        after, without = (move.target(has_assistant=given) for given in (True, False))
        rows.append(f"| {name} | {before} | `{after}` | {f'`{without}`' if without else 'refused'} | {move.purpose} |")
    return "\n".join([*rows, "", "```mermaid", "stateDiagram-v2", "    [*] --> bot", *edges, "```"]) + "\n"


def session_states() -> str:
    """Return the states of a browser session as a diagram (Mermaid), without the transitions from every state; the
    table next to it lists those.
    """
    # arrows from every state would hide the others
    anywhere = ("absent", "backing_off", "logged_out")
    edges = [
        f"    {old} --> {new}"
        for old, following in SESSION_TRANSITIONS.items()
        for new in SESSION_TRANSITIONS
        if new in following and (new not in anywhere or old in anywhere)
    ]
    rows = ["| from | to |", "|---|---|"]
    rows += [
        f"| `{old}` | {' '.join(f'`{new}`' for new in SESSION_TRANSITIONS if new in following)} |"
        for old, following in SESSION_TRANSITIONS.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> absent", *edges, "```", "", *rows]) + "\n"


def media_limits() -> str:
    """Return the table of file limits by connection type and message type."""
    rows = ["| type | connection types | at most | kinds |", "|---|---|---|---|"]
    # connection types with the same limit share a row
    found: dict[tuple[str, FileLimit], list[str]] = {}
    for channel in CHANNELS:
        for name, limit in channel.files.items():
            found.setdefault((name, limit), []).append(channel.name)
    for (name, limit), connection_types in found.items():
        kinds = ", ".join(f"`{one}*`" if one.endswith("/") else f"`{one}`" for one in limit.mimetypes) or "any"
        but_not = f" but {', '.join(f'`{one}`' for one in limit.but_not)}" if limit.but_not else ""
        most = f"{limit.bytes // 1024} KB" if limit.bytes < 1024 * 1024 else f"{limit.bytes // (1024 * 1024)} MB"
        for kind, still in limit.bytes_of_still.items():
            most += f"; `{kind}` that does not move {still // 1024} KB"
        rows.append(f"| `{name}` | {', '.join(f'`{one}`' for one in connection_types)} | {most} | {kinds}{but_not} |")
    return "\n".join(rows) + "\n"


def metrics_table() -> str:
    """Return the table of every metric."""
    rows = ["| metric | type | labels | counted by | meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| `{one.name}` | {one.type} | {' '.join(f'`{name}`' for name in one.labels)} | {one.where} | {one.purpose} |"
        for one in declared()
    ]
    return "\n".join(rows) + "\n"


def troubles_table() -> str:
    """Return the table of troubles."""
    rows = ["| code | about | impact | sentence | what to do |", "|---|---|---|---|---|"]
    rows += [f"| `{one.code}` | {one.about} | {one.impact} | {one.sentence} | {one.mend} |" for one in TROUBLES]
    return "\n".join(rows) + "\n"


def alerts_table() -> str:
    """Return the table of every alert."""
    rows = ["| alert | condition | for | severity | meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| [{one.name}](runbook/{one.name}.md) | `{expression(one)}` | {one.for_s:g} s | {one.severity} | "
        f"{one.summary.replace('{', '*').replace('}', '*')} |"
        for one in ALERT_RULES
    ]
    return "\n".join(rows) + "\n"


WHOLE: Mapping[str, Callable[[], str]] = {
    "ops/prometheus/bulkhead.rules.yml": prometheus_rules,
    grafana.PATH: grafana.dashboard,
    kubernetes.PATH: kubernetes.manifests,
}
"""Files that are written as a whole, each with its text."""
SECTIONS: Mapping[str, Callable[[], str]] = {
    "settings": lambda: settings_table(variables(())),
    "kind-settings": kind_settings_table,
    "visible-settings": visible_table,
    "child-environment": lambda: settings_table(child_variables()),
    "exit-codes": exit_code_table,
    "command-exit-codes": command_pages.command_exit_table,
    "command-needs": command_pages.needs_table,
    "commands": command_pages.commands_page,
    "message-states": message_states,
    "session-states": session_states,
    "conversation-moves": conversation_moves,
    "media-limits": media_limits,
    "public-events": public_events_table,
    "troubles": troubles_table,
    "metrics": metrics_table,
    "alerts": alerts_table,
}


def written_anew(text: str) -> str:
    """Return a document with its generated sections up to date. Raises `KeyError` for an unknown section."""
    return _SECTION.sub(lambda found: f"{found[1]}{SECTIONS[found['name']]()}{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Write or check every document and return the exit code."""
    stale = []
    for document in sorted((REPOSITORY / "docs").rglob("*.md")):
        text = document.read_text(encoding="utf-8")
        fresh = written_anew(text)
        # a file that is up to date keeps its modification time
        if fresh != text:
            stale.append(document.relative_to(REPOSITORY))
            if "--check" not in arguments:
                document.write_text(fresh, encoding="utf-8")
    whole = {name: made() for name, made in WHOLE.items()} | api_pages.pages()
    for name, text in whole.items():
        path = REPOSITORY / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(REPOSITORY))
            if "--check" not in arguments:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    # pages of groups that are gone
    for path in (REPOSITORY / api_pages.FOLDER).glob("*.md"):
        if str(path.relative_to(REPOSITORY)) not in whole:
            stale.append(path.relative_to(REPOSITORY))
            if "--check" not in arguments:
                path.unlink()
    for path in stale:
        print(f"{path}: {'is out of date; run script/docs' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
