"""`env [NAME]`: the settings of all processes. A secret is shown only when it is named."""

from __future__ import annotations

import click

from shared.process.exit_codes import ExitCode
from shared.settings import to_environ, variables
from shared.settings_template import settings_template
from supervision.commands.command_exits import CommandRefused
from supervision.commands.context import Context


@click.command("env", short_help="Show the settings of all processes, or make a template of them.")
@click.argument("name", metavar="[NAME]", default="")
@click.option("--template", is_flag=True, help="A settings file with every setting, its default and meaning, as text.")
@click.pass_obj
def command(context: Context, name: str, template: bool) -> int:
    """Show the settings of all processes, or one of them by its name.

    A secret is shown only when it is named. `bulkhead env --template > var/settings.env` makes a file to begin with.
    """
    if template:
        click.echo(settings_template(context.rows), nl=False)
        return ExitCode.OK
    values = to_environ(context.known())
    if name:
        if name.upper() not in values:
            raise CommandRefused(f"no setting {name!r}; docs/settings.md lists them", ExitCode.USAGE)
        click.echo(values[name.upper()])
        return ExitCode.OK
    # Whether a secret is set is shown, its value is not: lists end up in tickets and on screens.
    hidden = {variable.name for variable in variables(context.rows).values() if variable.secret}
    for setting, value in values.items():
        click.echo(f"{setting}={'(secret)' if setting in hidden and value else value}")
    return ExitCode.OK
