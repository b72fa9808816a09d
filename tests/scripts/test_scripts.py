"""The scripts say clearly what is missing and do nothing when nothing is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import environment

SCRIPTS = environment.REPOSITORY / "script"
TOOLS = ("bash", "env", "dirname", "cat", "sha256sum", "pwd", "id", "grep")


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with a few system tools and nothing else; `id` says that we are not root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (folder / tool).symlink_to(found)
    (folder / "id").unlink()
    (folder / "id").write_text("#!/bin/bash\necho 1000\n")
    (folder / "id").chmod(0o755)
    return folder


def run(script: Path, *arguments: str, path: Path | str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments],
        env={"PATH": str(path), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def program(path: Path, text: str = "exit 0") -> Path:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def test_chromium_that_cannot_be_installed_prints_the_command(bare_path: Path) -> None:
    done = run(SCRIPTS / "chromium", path=bare_path)
    assert done.returncode == 1
    assert "apt-get install --no-install-recommends chromium" in done.stderr


def test_chromium_on_path_is_enough(bare_path: Path) -> None:
    program(bare_path / "chromium")
    done = run(SCRIPTS / "chromium", path=bare_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_chromium_path_wins_and_must_be_a_program(bare_path: Path, tmp_path: Path) -> None:
    program(bare_path / "chromium")
    assert run(SCRIPTS / "chromium", path=bare_path, CHROMIUM_PATH=str(program(tmp_path / "mine"))).returncode == 0
    wrong = run(SCRIPTS / "chromium", path=bare_path, CHROMIUM_PATH=str(tmp_path / "nothing"))
    assert wrong.returncode == 1
    assert "is not a program" in wrong.stderr


def test_root_with_apt_installs_chromium_visibly(bare_path: Path, tmp_path: Path) -> None:
    program(bare_path / "id", "echo 0")
    calls = tmp_path / "calls"
    program(
        bare_path / "apt-get",
        f'echo "$@" >> {calls}\n[ "$1" = update ] || {{ echo "#!/bin/bash" > '
        f"{bare_path}/chromium; {shutil.which('chmod')} +x {bare_path}/chromium; }}",
    )
    done = run(SCRIPTS / "chromium", path=bare_path)
    assert done.returncode == 0, done.stderr
    assert "Installing Chromium" in done.stderr
    assert calls.read_text().splitlines() == ["update -qq", "install -y -qq --no-install-recommends chromium"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with `script/venv` and a requirements file that needs nothing."""
    copy = tmp_path / "clone"
    (copy / "script").mkdir(parents=True)
    shutil.copy(SCRIPTS / "venv", copy / "script" / "venv")
    (copy / "requirements.lock").write_text("# nothing\n")
    return copy


def test_without_python_the_version_needed_is_named(clone: Path, bare_path: Path) -> None:
    program(bare_path / "python3", 'echo "Python 3.9.2"; exit 1')
    done = run(clone / "script" / "venv", "requirements.lock", path=bare_path)
    assert done.returncode == 69
    assert "Python 3.11 or later" in done.stderr
    assert "Python 3.9.2" in done.stderr


def test_the_second_time_nothing_is_done_until_the_list_changes(clone: Path) -> None:
    path = os.environ["PATH"]
    first = run(clone / "script" / "venv", "requirements.lock", path=path, HOME=os.environ.get("HOME", "/"))
    assert first.returncode == 0, first.stderr
    assert "Making .venv" in first.stderr
    second = run(clone / "script" / "venv", "requirements.lock", path=path)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    (clone / "requirements.lock").write_text("# still nothing\n")
    third = run(clone / "script" / "venv", "requirements.lock", path=path, HOME=os.environ.get("HOME", "/"))
    assert third.returncode == 0
    assert "Installing" in third.stderr
    assert "Making .venv" not in third.stderr


def test_a_file_whose_hash_is_not_in_the_lock_is_not_installed(clone: Path) -> None:
    (clone / "thing").mkdir()
    (clone / "thing" / "setup.py").write_text("raise SystemExit('it was run')")
    archive = shutil.make_archive(str(clone / "thing-1.0"), "gztar", clone, "thing")
    (clone / "requirements.lock").write_text(f"thing @ file://{archive} --hash=sha256:{'0' * 64}\n")
    done = run(
        clone / "script" / "venv", "requirements.lock", path=os.environ["PATH"], HOME=os.environ.get("HOME", "/")
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "it was run" not in done.stderr


def test_a_failed_installation_is_not_taken_for_done(clone: Path) -> None:
    (clone / "requirements.lock").write_text("./no-such-package\n")
    for _ in range(2):
        done = run(
            clone / "script" / "venv", "requirements.lock", path=os.environ["PATH"], HOME=os.environ.get("HOME", "/")
        )
        assert done.returncode != 0
        assert "no-such-package" in done.stderr
