"""Delivery measured on the real program: `python -m bench COMMAND --help`. Supervision has its own: `python bench/supervision.py --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import isolation, latency, memory, recovery, throughput, workers
from bench.figures import as_json, draw, show

COMMANDS = {
    "throughput": throughput,
    "latency": latency,
    "recovery": recovery,
    "isolation": isolation,
    "queue": workers,
    "memory": memory,
}


def main(words: list[str]) -> int:
    """Run one command and show its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").partition(": ")[2])
        module.arguments(command)
        command.add_argument("--quick", action="store_true", help="a run of seconds that only shows that the command works")
        command.add_argument("--json", type=Path, default=None, help="file that gets the figures; without it they follow the table")
        command.add_argument("--plot", type=Path, default=None, help="PNG file that gets a picture")
    given = parser.parse_args(words)
    module = COMMANDS[given.command]
    if given.quick:
        module.quick(given)
    kept, picture = given.json, given.plot
    del given.json, given.plot
    figures = module.run(given)
    print(show(figures))
    if kept is None:
        print(as_json(figures))
    else:
        kept.write_text(as_json(figures) + "\n")
    if picture is not None and not draw(figures, picture):
        print("no picture: matplotlib is not installed; pip install -r bench/requirements.txt", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
