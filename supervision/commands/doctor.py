"""`doctor`: check this machine, the settings, PostgreSQL, Redis, keys and webhooks, and say what to do about each
fault; works while nothing runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from textwrap import wrap
from typing import Any, Final

import click

from shared.diagnosis import CheckResult, Diagnosis, fail, ok
from shared.errors import SettingsInvalid
from shared.process.exit_codes import ExitCode
from shared.settings import ChildEnvironment, Settings
from supervision.commands import screen
from supervision.commands.command_exits import CommandExit
from supervision.commands.context import Context, is_running
from supervision.commands.options import as_json
from supervision.decisions.plan import desired_slots
from supervision.diagnosis import check_machine, check_webhooks
from supervision.environment import ChildConfig, child_environ

_SERVERS_S: Final = 60.0
"""Longest time for the checks of the servers, each of which has a shorter one of its own."""
_WIDTH: Final = 72
"""Columns of a finding, so that the table fits beside its first two columns."""


@click.command("doctor", short_help="Check everything that Bulkhead needs: each fault with what to do.")
@as_json("The checks as JSON.")
@click.pass_obj
def command(context: Context, as_json: bool) -> int:
    """Check machine, settings, PostgreSQL, Redis, ports, Chromium, keys and webhooks, and say what to do about each
    fault.

    Leaves with 0 when none fails, 1 when one does, 78 when the settings themselves are wrong.
    """
    try:
        settings = context.known()
        counts = desired_slots(settings.kinds, settings)
    except SettingsInvalid as problem:
        found = [fail("settings", one, "Correct it; docs/settings.md lists every setting.") for one in problem.problems]
        _show(found, as_json=as_json)
        return ExitCode.CONFIGURATION
    found = [*check_machine(settings, context.environ), *_servers(context, settings, counts), check_webhooks(settings)]
    _show(found, as_json=as_json)
    return CommandExit.UNWELL if any(one.result is CheckResult.FAIL for one in found) else ExitCode.OK


def _servers(context: Context, settings: Settings, counts: Any) -> list[Diagnosis]:
    """Return what a process of the API's kind finds: the command line itself has no client of a server."""
    operator = context.settings()
    lives = is_running(settings.bulkhead_home)
    embedded = [name for name, url in (("database", operator.database_url), ("redis", operator.redis_url)) if not url]
    if embedded and not lives:
        waiting = [ok(name, "the embedded server, which starts with Bulkhead") for name in embedded]
        if len(embedded) > 1:
            return waiting
        # the one that is not ours can be asked nevertheless
        return [*waiting, *(one for one in _asked(context, settings, counts) if _is_of(one, embedded) is False)]
    return _asked(context, settings, counts)


def _is_of(one: Diagnosis, embedded: Sequence[str]) -> bool:
    of_database = one.check.startswith("database") or one.check in ("schema", "sealing keys", "clock")
    return ("database" if of_database else "redis") in embedded


def _asked(context: Context, settings: Settings, counts: Any) -> list[Diagnosis]:
    row = settings.kind("api")
    config = ChildConfig(settings=settings, counts={}, uses_sandbox=False)
    identity = ChildEnvironment(process_name="api", process_incarnation="api.command")
    pools = sum(kind.pool_size * counts.get(kind.name, 0) for kind in settings.kinds)
    try:
        answer = subprocess.run(
            [sys.executable, str(context.entries / row.entry), "--doctor"],
            env=child_environ(config, row, identity, context.environ),
            input=f"{pools}\n",
            capture_output=True,
            text=True,
            timeout=_SERVERS_S,
            check=False,
        )
        return [Diagnosis(**(one | {"result": CheckResult(one["result"])})) for one in json.loads(answer.stdout)]
    except subprocess.TimeoutExpired:
        return [fail("servers", f"no answer in {_SERVERS_S:.0f} s", "See whether PostgreSQL or Redis hangs.")]
    except ValueError:
        said = (answer.stderr or answer.stdout).strip().splitlines() or ["no output"]
        return [fail("servers", f"they could not be asked: {said[-1]}", "Install Bulkhead's packages: script/run.")]


def _show(found: Sequence[Diagnosis], *, as_json: bool) -> None:
    if as_json:
        well = all(one.result is not CheckResult.FAIL for one in found)
        click.echo(json.dumps({"well": well, "checks": [one.as_json() for one in found]}, indent=2))
        return
    rows: list[tuple[object, ...]] = []
    for one in found:
        mend = wrap(f"-> {one.mend}", _WIDTH, subsequent_indent="   ") if one.mend else []
        lines = [*wrap(one.finding, _WIDTH), *mend]
        rows += [
            (one.check if number == 0 else " ", one.result.value if number == 0 else " ", line)
            for number, line in enumerate(lines)
        ]
    screen.show_table(("CHECK", "RESULT", "FINDING"), rows)
    failed, warned = (sum(one.result is result for one in found) for result in (CheckResult.FAIL, CheckResult.WARN))
    click.echo(f"\n{len(found)} checks, {failed} failed, {warned} with a warning.")
