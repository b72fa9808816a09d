"""`completion SHELL`: the script by which a shell completes commands, options, kinds and slots."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from shared.process.exit_codes import ExitCode
from supervision.commands.entry import COMPLETION_VARIABLE


@click.command("completion", short_help="Print the script by which a shell completes commands.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print the script by which a shell completes commands, options, kinds and slots.

    \b
    bash  source <(bulkhead completion bash)                                (in ~/.bashrc)
    zsh   source <(bulkhead completion zsh)                                 (in ~/.zshrc)
    fish  bulkhead completion fish > ~/.config/fish/completions/bulkhead.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root()
    click.echo(made(root.command, {}, root.info_name or "bulkhead", COMPLETION_VARIABLE).source())
    return ExitCode.OK
