"""Says how often it was poked."""

from shared.process.supervised import Command
from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
pokes = 0
receive = life.line.receive


def count() -> list[Command]:
    """Return the commands, and say how many pokes there were."""
    global pokes  # noqa: PLW0603 - a fixture of ten lines
    commands = receive()
    if Command.POKE in commands:
        pokes += commands.count(Command.POKE)
        life.line.status(f"{pokes} pokes")
    return commands


life.line.receive = count  # type: ignore[method-assign]
life.run()
life.leave()
