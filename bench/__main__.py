"""Measures delivery on the real program: `python -m bench COMMAND --help`. Supervision has its own: `python
bench/supervision.py --help`.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench import (
    alarms,
    browser,
    bystander,
    compare,
    contacts,
    guards,
    hooks,
    indexing,
    ingress,
    isolation,
    latency,
    memory,
    model_hang,
    moving,
    recovery,
    restore,
    retrieval,
    sessions,
    throughput,
    turns,
    workers,
)
from bench.figures import as_json, draw, show

COMMANDS: Final = {
    "throughput": throughput,
    "latency": latency,
    "recovery": recovery,
    "isolation": isolation,
    "bystander": bystander,
    "hooks": hooks,
    "compare": compare,
    "guards": guards,
    "contacts": contacts,
    "turns": turns,
    "model-hang": model_hang,
    "index": indexing,
    "retrieval": retrieval,
    "queue": workers,
    "memory": memory,
    "ingress": ingress,
    "browser": browser,
    "sessions": sessions,
    "restore": restore,
    "move": moving,
    "alarms": alarms,
}
ALL: Final[dict[str, tuple[str, ...]]] = {
    "throughput": ("throughput",),
    "throughput-one": ("throughput", "--latency-ms", "100", "--api", "1", "--meta", "1", "--in-flight", "400"),
    "latency": ("latency",),
    "recovery": ("recovery",),
    "isolation": ("isolation",),
    "bystander": ("bystander",),
    "hooks": ("hooks",),
    "compare": ("compare",),
    "queue": ("queue",),
    "ingress": ("ingress",),
    "memory-minutes": ("memory", "--minutes", "2"),
}
"""The commands of `all` in order, by the name of their files: about 25 minutes. The hour of `memory`, `browser`,
`sessions`, `restore` and `alarms` are separate runs.
"""
RESULTS: Final = Path(__file__).parent / "results"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").partition(": ")[2])
        module.arguments(command)
        command.add_argument(
            "--quick", action="store_true", help="a run of seconds that only shows that the command works"
        )
        command.add_argument(
            "--json", type=Path, default=None, help="file that gets the figures; without it they follow the table"
        )
        command.add_argument("--plot", type=Path, default=None, help="PNG file that gets a picture")
    every = commands.add_parser("all", help="every command in order; each leaves NAME.txt, NAME.json and NAME.png")
    every.add_argument("--quick", action="store_true", help="runs of seconds that only show that the commands work")
    every.add_argument("--into", type=Path, default=RESULTS, help="directory for the files (default: bench/results)")
    every.add_argument(
        "--only", default=",".join(ALL), help="comma-separated names of those to run (default: %(default)s)"
    )
    return made


def main(words: list[str]) -> int:
    """Run one command, or all, and show the figures."""
    given = parser().parse_args(words)
    if given.command == "all":
        return _all(given)
    module = COMMANDS[given.command]
    if given.quick:
        module.quick(given)
    kept, picture = given.json, given.plot
    # the destination is not a parameter of the measurement, and `vars(given)` is printed with the figures
    del given.json, given.plot
    figures = module.run(given)
    table = show(figures)
    print(table, flush=True)
    if kept is None:
        print(as_json(figures))
    else:
        kept.write_text(as_json(figures) + "\n")
        kept.with_suffix(".txt").write_text(table + "\n")
    if picture is not None and not draw(figures, picture):
        print("no picture: matplotlib is not installed; pip install -r bench/requirements.txt", file=sys.stderr)
        return 1
    return 0


def _all(given: argparse.Namespace) -> int:
    """Run the commands one after the other; a failure does not stop the rest."""
    given.into.mkdir(parents=True, exist_ok=True)
    can_draw = find_spec("matplotlib") is not None
    if not can_draw:
        print("no pictures: matplotlib is not installed; pip install -r bench/requirements.txt", file=sys.stderr)
    codes = []
    for name in given.only.split(","):
        began = time.monotonic()
        try:
            picture = ["--plot", str(given.into / f"{name}.png")] if can_draw else []
            code = main([*ALL[name], *["--quick"] * given.quick, "--json", str(given.into / f"{name}.json"), *picture])
        except Exception:  # noqa: BLE001 - whatever broke one command, the others are measured
            traceback.print_exc()
            code = 1
        print(f"{name}: {'done' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s\n", flush=True)
        codes.append(code)
    # the exit code shows the failure of any command, not only of the last
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
