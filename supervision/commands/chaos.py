"""`chaos`: inject faults while messages flow, and judge by the provider's ledger; `chaos upgrade`: bring two hosts from
version to version under load. This only starts the program `chaos`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import become_program
from supervision.commands.options import SECONDS, count

_F = TypeVar("_F", bound=Callable[..., Any])

PLANS: Final = (
    "everything",
    "many",
    "processes",
    "storage",
    "provider",
    "senders",
    "recovery",
    "browser",
    "outsiders",
    "tenants",
    "adverse",
    "late",
    "reboot",
    "doors",
    "crowd",
    "relink",
    "hooks",
    "all",
    "hosts",
    "clocks",
    "session-hosts",
    "host-killed",
    "host-frozen",
    "host-frozen-shortly",
    "host-unplugged",
    "host-without-database",
    "host-without-redis",
    "host-without-provider",
    "calm",
)
"""Names of `chaos.plans.PLANS`, which is not loaded here; a test compares them."""
_HOSTS_MOST: Final = 5
_PER_S: Final = click.FloatRange(min=0, min_open=True)


def _load(messages: float, chats: int) -> Callable[[_F], _F]:
    """Return the options that both commands have.

    Args:
        messages: default of messages a second. chats: default number of chats.
    """
    options = (
        click.option(
            "--load", type=_PER_S, default=messages, show_default=True, metavar="PER_S", help="Messages a second."
        ),
        click.option(
            "--chats", type=count(1), default=chats, show_default=True, metavar="N", help="Chats on each connection."
        ),
        click.option(
            "--settle",
            type=SECONDS,
            default=180.0,
            show_default=True,
            metavar="S",
            help="Seconds within which every message must reach a final state.",
        ),
        click.option(
            "--report",
            type=click.Path(path_type=Path, dir_okay=False),
            default=None,
            metavar="FILE",
            help="Write the result to this file, as JSON.",
        ),
    )

    def added(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return added


@click.group("chaos", short_help="Inject faults while messages flow, and compare outcome and promise.")
def command() -> None:
    """Break an installation while messages flow, and compare what arrived with what was promised (docs/chaos.md)."""


@command.command("run")
@click.option(
    "--plan",
    type=click.Choice(PLANS),
    default="everything",
    show_default=True,
    metavar="PLAN",
    help="Which faults, and their weights.",
)
@click.option("--faults", type=count(0), default=100, show_default=True, metavar="N", help="How many.")
@click.option(
    "--rate",
    type=_PER_S,
    default=1.0,
    show_default=True,
    metavar="PER_S",
    help="Faults a second, limited by how soon a target may be hit again.",
)
@click.option(
    "--seed", type=count(0), default=1, show_default=True, metavar="N", help="The same seed gives the same schedule."
)
@_load(30.0, 20)
@click.option(
    "--hosts",
    type=count(1, _HOSTS_MOST),
    default=1,
    show_default=True,
    metavar="N",
    help="Hosts on one PostgreSQL and Redis, for plan hosts; not with --home.",
)
@click.option(
    "--namespaces",
    is_flag=True,
    help="Give each further host a network namespace, whose cable is pulled; needs root and `ip`.",
)
@click.option("--browser", is_flag=True, help="Send through a browser session too, and break it.")
@click.option(
    "--varied",
    is_flag=True,
    help="Two companies, every type of message, schedules, cancellations, redrives and in-doubt policies.",
)
@click.option(
    "--policy",
    type=click.Choice(("auto", "resend", "hold")),
    default="auto",
    show_default=True,
    help="In-doubt policy of an installation of its own.",
)
@click.option(
    "--crash-points",
    default="",
    metavar="TEXT",
    help="Arm crash points, see docs/chaos.md; a number arms all with that probability.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Break the installation that runs in this home (it needs CHAOS=on) instead of a new one.",
)
@click.option("--keep", is_flag=True, help="Keep the home of the new installation.")
@click.option("--show-plan", is_flag=True, help="Print the schedule as JSON and do nothing.")
@click.pass_obj
def _run(context: Context, /, **given: Any) -> NoReturn:
    """Inject faults while messages flow, and compare what arrived with what was promised.

    Leaves with 1 when a guarantee was broken, messages reached no final state, or it could not be carried out.
    """
    become_program(context, "chaos", action="run", **given)


@command.command("upgrade")
@click.option("--to", default="HEAD", show_default=True, metavar="REVISION", help="Newest version.")
@click.option(
    "--versions", type=count(1), default=11, show_default=True, metavar="N", help="How many, the first included."
)
@_load(20.0, 10)
@click.pass_obj
def _upgrade(context: Context, /, **given: Any) -> NoReturn:
    """Bring two hosts from version to version while messages flow, in a checkout.

    Leaves with 1 when a request was refused or broken, or a message lost or doubled.
    """
    become_program(context, "chaos", action="upgrade", **given)
