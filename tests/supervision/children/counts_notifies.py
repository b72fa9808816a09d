"""Says how often it was notified."""

from shared.process.supervised import Command
from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
notified = 0
receive = life.line.receive


def count() -> list[Command]:
    """Return the commands, and say how many notifications there were."""
    global notified  # noqa: PLW0603 - a fixture of ten lines
    commands = receive()
    if Command.NOTIFY in commands:
        notified += commands.count(Command.NOTIFY)
        life.line.status(f"{notified} notifications")
    return commands


life.line.receive = count  # type: ignore[method-assign]
life.run()
life.leave()
