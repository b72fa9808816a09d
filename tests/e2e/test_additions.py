"""What a new kind and a new connection type cost: their own files, one row each, and a migration. Nothing else is
edited."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg2
import pytest

from shared.kinds import next_admin_offset
from tests.conftest import settings_variables
from tests.support import environment
from tests.support.bulkhead import Bulkhead
from tests.support.ports import free_port_block
from tests.support.waiting import eventually

ADDITIONS: Final = Path(__file__).with_name("additions")
COMPANY: Final = "example-company"
CHAT: Final = "15550100300"
GREETING: Final = "Composed by the kind itself"

KIND_ROW: Final = f"""\
    ProcessKind(
        name="example",
        entry="proc_example.py",
        needed="connections",
        after=("postgres", "redis", "recorder"),
        admin_offset={next_admin_offset()},
        pool_size=5,
        in_flight=10,
        send_s=5.0,
        retry_base_s=1.0,
        settings=(*_DATABASE, *_REDIS, *_MEDIA, *_DELIVERY),
        variables=(Variable(name="EXAMPLE_GREETING", default="Hello", purpose="What it sends first."),),
        secrets=("media_s3_secret", *_SERVERS),
        retention=(RetentionRule(table="example_sends", statement="prune_example_sends"),),
    ),
"""
ROWS: Final = {
    "shared/kinds.py": ((")\n\n_BY_NAME", f"{KIND_ROW})\n\n_BY_NAME"),),
    "shared/channels/registry.py": (
        (
            "from shared.channels.instagram",
            "from shared.channels.example import EXAMPLE\nfrom shared.channels.instagram",
        ),
        ("INSTAGRAM)\n", "INSTAGRAM, EXAMPLE)\n"),
    ),
}
"""The rows, by registry: what is replaced, and by what."""


def tracked() -> list[Path]:
    """Return every file of the repository that is there."""
    listed = subprocess.run(["git", "ls-files"], cwd=environment.REPOSITORY, capture_output=True, text=True, check=True)
    names = (Path(line) for line in listed.stdout.splitlines())
    return [name for name in names if (environment.REPOSITORY / name).is_file()]


def compiled(name: Path) -> Iterable[Path]:
    """Return the files that Python has compiled a module of the repository to."""
    return (environment.REPOSITORY / name.parent / "__pycache__").glob(f"{name.stem}.*.pyc")


def files_of(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A copy of the program to which the kind and the connection type `example` are added."""
    root = tmp_path / "tree"
    for name in tracked():
        # compiled modules too, which are matched to their source by its time: compiling all of them takes seconds
        for path in (name, *(one.relative_to(environment.REPOSITORY) for one in compiled(name))):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(environment.REPOSITORY / path, root / path)
    shutil.copytree(ADDITIONS, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for registry, replacements in ROWS.items():
        text = (root / registry).read_text()
        for old, new in replacements:
            assert text.count(old) == 1, f"{registry} has {old!r} once"
            text = text.replace(old, new)
        (root / registry).write_text(text)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def installation(tree: Path, home: Path, database_url: str, redis_url: str) -> Iterator[Bulkhead]:
    """The program of that tree, not started; no provider and no stand-in runs."""
    own = {
        "admin_port": free_port_block(next_admin_offset() + 10),
        "database_url": database_url,
        "redis_url": redis_url,
        "sandbox": "off",
        "example_greeting": GREETING,
    }
    variables = settings_variables(home) | environment.as_environ(own)
    made = Bulkhead(home, variables)
    made.tree = tree
    yield made
    made.close()


def text_messages(installation: Bulkhead) -> dict[str, str]:
    """Return the state of each message of the chat by its text."""
    answer = installation.api("GET", f"/api/v2/messages/{COMPANY}/{CHAT}")
    assert answer.status_code == 200, answer.text
    return {message["message"]: message["status"] for message in answer.json()["messages"]}


def example_is_ready(installation: Bulkhead) -> bool:
    listed: list[dict[str, Any]] = installation.api("GET", "/health/all").json()["processes"]
    return any(one["process"] == "example" and one["status"] == "healthy" for one in listed)


def test_a_kind_and_a_connection_type_are_their_files_one_row_each_and_a_migration(
    tree: Path, installation: Bulkhead, database_url: str
) -> None:
    changed = {name for name in tracked() if (tree / name).read_bytes() != (environment.REPOSITORY / name).read_bytes()}
    assert changed == {Path(name) for name in ROWS}, "only the registries have changed"
    assert files_of(tree) == {*tracked(), *files_of(ADDITIONS)}, "and only its own files were added"

    installation.start().wait_ready("recorder", "api")
    assert (
        installation.api("POST", "/api/v2/companies", json={"companyId": COMPANY, "name": "Example"}).status_code == 201
    )
    made = installation.api(
        "POST", f"/api/v2/connections/{COMPANY}", json={"connectionType": "example", "phoneIndex": 0}
    )
    assert made.status_code == 201, made.text
    # the first connection of its type makes the recorder report the kind as desired, and the orchestrator start it
    eventually(partial(example_is_ready, installation), 60.0, lambda: f"example is ready\n{installation.tail()}")

    sent = installation.api(
        "POST", f"/api/v2/messages/text/{COMPANY}/{CHAT}", json={"message": "From a client", "phoneIndex": 0}
    )
    assert sent.status_code == 202, sent.text
    eventually(
        lambda: text_messages(installation) == {GREETING: "sent", "From a client": "sent"},
        30.0,
        lambda: f"both messages are sent: {text_messages(installation)}\n{installation.tail()}",
    )
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT body FROM example_sends ORDER BY body")
        assert cursor.fetchall() == [(GREETING,), ("From a client",)]
    assert installation.stop() == 0


@pytest.mark.timeout(320)
def test_the_architecture_tests_pass_for_them_without_a_new_rule(tree: Path) -> None:
    """The registries are all that the tests of the architecture, of the packaging and of the statements read."""
    files = (
        "tests/architecture/test_layout.py",
        "tests/architecture/test_packaging.py",
        "tests/store/test_statements.py::test_every_name_that_is_used_is_there_and_every_statement_is_used",
    )
    # how long the files are has nothing to do with what was added
    lengths = "tests/architecture/test_layout.py::test_files_are_small"
    # of the entries only the new one: the others are the same as in the repository
    only = "example or not test_an_entry_loads"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--deselect", lengths, "-k", only, *files],
        cwd=tree,
        env=environment.clean(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-4000:]
