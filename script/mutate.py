"""Runs the mutations of script/mutants.py: removes one rule at a time in a copy of the tracked files, and runs the test
that must fail.

First the tests run without a mutation, since a test that fails anyway would seem to detect everything. Then each mutant
must make its test fail by an assertion, not by an error of collection. Several run at once; each worker has a copy of
its own, and a PostgreSQL that is started once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from embedded import addresses
from script.mutants import MUTATIONS, Mutation, place_of
from tests.support import processes
from tests.support.servers import Servers

REPOSITORY: Final = Path(__file__).parents[1]
RESULTS: Final = REPOSITORY / "var" / "mutations.json"
"""The results so far, for `--resume`."""
TEST_S: Final = 240
"""Seconds for a single test, by pytest's own limit: a mutant may hang where the rule would end a wait. Longer than in
the suite, since several runs share the machine.
"""
LONGEST_S: Final = 600.0
"""Seconds for all tests of one mutant, until the first fails."""
SOUND_S: Final = 1800.0
"""Seconds for all tests without a mutation."""

NOTICED: Final = "noticed"
SURVIVED: Final = "NOT NOTICED"
UNSOUND: Final = "FAILS ANYWAY"
BROKEN: Final = "NO VERDICT"
"""pytest could not run the tests (for example, the mutant cannot be imported), or did not end in time."""
_OUTCOMES: Final = {0: SURVIVED, 1: NOTICED}
"""By pytest's exit code."""


@dataclass(frozen=True)
class MutationResult:
    """The outcome of one mutation; `fingerprint` covers everything that the result depends on."""

    outcome: str
    seconds: float
    fingerprint: str
    last_line: str = ""


@dataclass(frozen=True)
class Tree:
    """A copy of the tracked files, and the environment of its tests."""

    place: Path
    variables: Mapping[str, str]

    def run(self, tests: Sequence[str], *options: str, within_s: float) -> subprocess.CompletedProcess[str]:
        """Run tests and return the finished process; its code is -9 after a timeout."""
        # no shrinking: only the failure matters here
        profile = ["--hypothesis-profile=unshrunk"] if any(test.startswith("tests/model") for test in tests) else []
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            "--tb=line",
            f"--timeout={TEST_S}",
            *options,
            *profile,
            *tests,
        ]
        with subprocess.Popen(
            command,
            cwd=self.place,
            env=os.environ | self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            try:
                output, _ = running.communicate(timeout=within_s)
            except subprocess.TimeoutExpired:
                # also the processes that the tests started, which keep the output pipe open
                processes.end([running.pid, *processes.living_descendants(running.pid)])
                output, _ = running.communicate()
        return subprocess.CompletedProcess(command, running.returncode, output)

    @contextmanager
    def without(self, mutation: Mutation) -> Iterator[None]:
        """Remove a rule during the block. Raises `ValueError` when its text is not found."""
        originals: dict[Path, tuple[str, os.stat_result]] = {}
        try:
            for edit in mutation.edits:
                file = self.place / edit.path
                text = file.read_text(encoding="utf-8")
                originals.setdefault(file, (text, file.stat()))
                found = place_of(edit, text)
                file.write_text(text[: found.start()] + edit.new + text[found.end() :], encoding="utf-8")
            yield
        finally:
            for file, (text, stat) in originals.items():
                file.write_text(text, encoding="utf-8")
                # a compiled file is matched to its source by the source's time
                os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="script/mutations", description=__doc__)
    made.add_argument("names", nargs="*", metavar="NAME", help="mutations to try (default: all)")
    made.add_argument("--jobs", type=int, default=2, help="how many are tried at once (default: %(default)s)")
    made.add_argument("--resume", action="store_true", help="leave out what was noticed before and has not changed")
    made.add_argument("--list", action="store_true", help="print names, rules and tests")
    return made


def main(words: Sequence[str]) -> int:
    """Run mutations and return 0 when each was detected."""
    given = parser().parse_args(words)
    if unknown := set(given.names) - set(MUTATIONS):
        print(f"no mutation {', '.join(sorted(unknown))}; known: {', '.join(MUTATIONS)}", file=sys.stderr)
        return 64
    chosen = {name: one for name, one in MUTATIONS.items() if not given.names or name in given.names}
    if given.list:
        for name, one in chosen.items():
            print(f"{name}: {one.rule}: {one.test}")
        return 0
    known = read_results()
    if given.resume:
        results = {name: known[name] for name, one in chosen.items() if is_settled(known.get(name), one)}
        print(f"{len(results)} of {len(chosen)} were noticed before and have not changed")
    else:
        results = {}
    results |= tried({name: one for name, one in chosen.items() if name not in results}, given.jobs, known)
    print(summary({name: results[name] for name in chosen if name in results}))
    return 0 if all(name in results and results[name].outcome == NOTICED for name in chosen) else 1


def tried(mutations: Mapping[str, Mutation], jobs: int, known: dict[str, MutationResult]) -> dict[str, MutationResult]:
    """Run mutations in parallel; print and store each result as it comes."""
    if not mutations:
        return {}
    processes.adopt_orphans()
    results: dict[str, MutationResult] = {}
    # of the files at the time of the copy: they may be edited during the run
    fingerprints = {name: fingerprint_of(one) for name, one in mutations.items()}
    with ExitStack() as stack:
        trees = [stack.enter_context(worker_tree(number, jobs)) for number in range(jobs)]
        unsound = failing(trees, {one.test for one in mutations.values()})
        waiting: queue.SimpleQueue[tuple[str, Mutation]] = queue.SimpleQueue()
        for item in mutations.items():
            waiting.put(item)
        lock = threading.Lock()

        def work(tree: Tree) -> None:
            while True:
                try:
                    name, mutation = waiting.get_nowait()
                except queue.Empty:
                    return
                result = one_result(tree, mutation, unsound, fingerprints[name])
                with lock:
                    results[name] = known[name] = result
                    keep_results(known)
                    print(
                        f"[{len(results)}/{len(mutations)}] {name}: {result.outcome}  ({result.seconds:.0f} s)  "
                        f"{mutation.rule}: {mutation.test}{result.last_line and f'  {result.last_line}'}",
                        flush=True,
                    )

        with ThreadPoolExecutor(jobs) as pool:
            for done in [pool.submit(work, tree) for tree in trees]:
                done.result()
    return results


def one_result(tree: Tree, mutation: Mutation, unsound: Iterable[str], fingerprint: str) -> MutationResult:
    """Remove one rule, run its test, and return the result."""
    began = time.monotonic()
    if any(covers(mutation.test, failed) for failed in unsound):
        return MutationResult(UNSOUND, 0.0, fingerprint)
    with tree.without(mutation):
        done = tree.run([mutation.test], "-x", within_s=LONGEST_S)
    # not just any failure: a mutant that cannot be imported proves nothing about the rule
    outcome = _OUTCOMES.get(done.returncode, BROKEN)
    last_line = (done.stdout.strip().splitlines() or [""])[-1] if outcome == BROKEN else ""
    return MutationResult(outcome, time.monotonic() - began, fingerprint, last_line)


def failing(trees: Sequence[Tree], tests: Iterable[str]) -> list[str]:
    """Return and print the tests that fail without any mutation. The files are divided among the trees, each with a
    database server of its own, since some tests affect others on the same server.
    """
    began = time.monotonic()
    by_file: dict[str, list[str]] = {}
    for test in sorted(tests):
        by_file.setdefault(test.partition("::")[0], []).append(test)
    shares = [
        [test for named in list(by_file.values())[number :: len(trees)] for test in named]
        for number in range(len(trees))
    ]
    with ThreadPoolExecutor(len(trees)) as pool:
        runs = [
            pool.submit(tree.run, share, "-rfE", within_s=SOUND_S)
            for tree, share in zip(trees, shares, strict=True)
            if share
        ]
    failed = []
    for done in (run.result() for run in runs):
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        names = [line.partition(" ")[2].partition(" - ")[0] for line in lines]
        if done.returncode != 0 and not names:
            raise RuntimeError(f"the tests cannot be run without a mutation:\n{done.stdout}")
        failed += names
        print(*lines, sep="\n", end="\n" * bool(lines))
    print(
        f"without a mutation: {f'{len(failed)} fail' if failed else 'all pass'}  ({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return failed


def covers(test: str, failed: str) -> bool:
    """Whether the name of a test file, class or function includes a failed test."""
    return failed == test or failed.startswith((f"{test}::", f"{test}["))


@contextmanager
def worker_tree(number: int, jobs: int) -> Iterator[Tree]:
    """Create a worker's copy, with a database server of its own, and remove both afterwards."""
    with tempfile.TemporaryDirectory(prefix="bh-mutants-") as place, closing(Servers()) as servers:
        variables = {
            # modules are compiled once for all test processes
            "PYTHONDONTWRITEBYTECODE": "",
            "TEST_DATABASE_URL": servers.url_of(addresses.DATABASE),
            # separate ports for each worker, as in a parallel run of the suite
            "PYTEST_XDIST_WORKER": f"gw{number}",
            "PYTEST_XDIST_WORKER_COUNT": str(jobs),
        }
        copy_tracked(Path(place))
        yield Tree(Path(place), variables)


def copy_tracked(place: Path) -> None:
    """Copy the tracked files in their present state, including uncommitted changes."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        source, target = REPOSITORY / name, place / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def fingerprint_of(mutation: Mutation) -> str:
    """Return a digest of a row, the files that it changes, and its test's file."""
    digest = hashlib.sha256(repr(mutation).encode())
    for path in sorted({*(edit.path for edit in mutation.edits), mutation.test.partition("::")[0]}):
        digest.update((REPOSITORY / path).read_bytes())
    return digest.hexdigest()


def is_settled(result: MutationResult | None, mutation: Mutation) -> bool:
    """Whether a mutation was detected before, and nothing that the result depends on has changed."""
    return result is not None and result.outcome == NOTICED and result.fingerprint == fingerprint_of(mutation)


def read_results() -> dict[str, MutationResult]:
    """Return the stored results by name; empty when there are none."""
    if not RESULTS.is_file():
        return {}
    return {name: MutationResult(**row) for name, row in json.loads(RESULTS.read_text(encoding="utf-8")).items()}


def keep_results(results: Mapping[str, MutationResult]) -> None:
    """Write the results so far."""
    RESULTS.parent.mkdir(exist_ok=True)
    partial = RESULTS.with_suffix(".partial")
    partial.write_text(json.dumps({name: asdict(result) for name, result in results.items()}, indent=1))
    partial.replace(RESULTS)


def summary(results: Mapping[str, MutationResult]) -> str:
    """Return a table of the undetected mutations, and the counts."""
    lines = [
        f"{result.outcome:13}{name:28}{MUTATIONS[name].test}"
        for name, result in results.items()
        if result.outcome != NOTICED
    ]
    counts = Counter(result.outcome for result in results.values())
    lines.append(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "none tried")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
