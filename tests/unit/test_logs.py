"""Logs are JSON lines that can be found again and report no one's text, number or credential."""

from __future__ import annotations

import ast
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import logs
from shared.logs import PRIVATE_FIELDS, correlation_id, fingerprint, logger, scrub
from tests.support import environment

PHONES = ["+49 170 1234567", "491701234567", "+1 (555) 010-0200", "0170-1234567", "49 170/1234567", "00491701234567"]
SECRETS = {
    "Authorization: Bearer EAAGm0PX4ZCpsBA": "EAAGm0PX4ZCpsBA",
    "D360-API-KEY: Abc123_AK": "Abc123_AK",
    "https://graph/x?access_token=EAAtok&y=1": "EAAtok",
    '{"access_token": "EAAinJson"}': "EAAinJson",
    "{'api_key': 'k-in-python'}": "k-in-python",
    "postgresql://bulkhead:pa55word@db/x": "pa55word",
    "password=hunter2 host=db": "hunter2",
    "app_secret: 0a1b2c3d": "0a1b2c3d",
    "token EAAGm0PX4ZCpsBAKZCfoobar0123456789 expired": "EAAGm0PX4ZCpsBAKZCfoobar0123456789",
}


class Written:
    """What was logged, by stream."""

    def __init__(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()

    @property
    def text(self) -> str:
        """Everything."""
        return self.out.getvalue() + self.err.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        """Every line, parsed."""
        return [json.loads(line) for line in self.text.split("\n") if line]


@contextmanager
def configured(level: str = "debug") -> Iterator[Written]:
    """Log into memory for the length of a block."""
    written = Written()
    root = logging.getLogger()
    handlers, old_level = root.handlers[:], root.level
    root.handlers = []
    logs.configure(level=level, kind="meta", instance=1, incarnation="meta-1.a", out=written.out, err=written.err)
    try:
        yield written
    finally:
        root.handlers, root.level = handlers, old_level
        logging.captureWarnings(False)


@pytest.fixture
def written() -> Iterator[Written]:
    """What was logged during a test."""
    with configured() as opened:
        yield opened


log = logger("shared.proof")


class TestLines:
    def test_one_object_with_process_time_and_event(self, written: Written) -> None:
        log.info("message_sent", message_id=7, attempt=1, ratio=0.5, ready=True, nothing=None)
        (line,) = written.lines()
        assert line.pop("at").endswith("Z")
        assert line == {
            "level": "info",
            "kind": "meta",
            "instance": 1,
            "incarnation": "meta-1.a",
            "logger": "shared.proof",
            "event": "message_sent",
            "message_id": 7,
            "attempt": 1,
            "ratio": 0.5,
            "ready": True,
            "nothing": None,
        }

    def test_below_warning_goes_out_and_the_rest_err(self, written: Written) -> None:
        log.debug("a_debugged")
        log.info("b_informed")
        log.warning("c_warned")
        log.error("d_failed")
        assert [json.loads(line)["event"] for line in written.out.getvalue().splitlines()] == [
            "a_debugged",
            "b_informed",
        ]
        assert [json.loads(line)["event"] for line in written.err.getvalue().splitlines()] == ["c_warned", "d_failed"]

    def test_the_level_is_ours_and_libraries_speak_from_warning_up(self) -> None:
        with configured("warning") as written:
            log.info("a_informed")
            log.warning("b_warned")
            logging.getLogger("uvicorn.error").info("chatter")
            logging.getLogger("uvicorn.error").warning("trouble")
        assert [line["event"] for line in written.lines()] == ["b_warned", "library_log"]
        assert written.lines()[1]["message"] == "trouble"

    def test_what_belongs_together_can_be_found(self, written: Written) -> None:
        log.info("a_before")
        token = correlation_id.set("m-12345678")
        log.info("b_during")
        correlation_id.reset(token)
        log.info("c_after")
        assert [line.get("correlation_id") for line in written.lines()] == [None, "m-12345678", None]

    def test_one_line_each_whatever_is_in_it(self, written: Written) -> None:
        log.info(
            "odd_logged",
            value="two\nlines \u2028 \ud83d half",
            path=Path("/x"),
            error=ValueError("boom"),
            deep={"a": [1, {"b": (2, 3)}]},
        )
        logging.getLogger("lib").warning("two\nlines \ud83d")
        first, second = written.lines()
        assert (first["path"], first["error"], first["deep"]) == ("/x", "boom", {"a": [1, {"b": [2, 3]}]})
        assert second["message"].startswith("two\nlines")

    def test_a_library_whose_arguments_do_not_fit_is_no_leak(self) -> None:
        script = (
            "import logging; from shared import logs; logs.configure(level='info', kind='x'); "
            "logging.warning('sent %d to %s', '491701234567')"
        )
        said = subprocess.run(
            [sys.executable, "-c", script],
            cwd=environment.REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert json.loads(said.stderr)["message"] == "sent %d to %s (its arguments do not fit)"
        assert "491701234567" not in said.stdout + said.stderr

    def test_warnings_are_lines_too(self, written: Written) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old ways", DeprecationWarning, stacklevel=1)
        (line,) = written.lines()
        assert (line["logger"], "old ways" in line["message"]) == ("py.warnings", True)

    def test_configuring_again_replaces_and_does_not_double(self, written: Written) -> None:
        logs.configure(level="info", kind="api", out=written.out, err=written.err)
        log.info("once_said")
        assert [line["kind"] for line in written.lines()] == ["api"]

    def test_by_default_to_the_processs_own_streams(self) -> None:
        script = (
            "from shared import logs; logs.configure(level='info', kind='x'); log = "
            "logs.logger('shared.y'); log.info('a_b'); log.error('c_d')"
        )
        said = subprocess.run(
            [sys.executable, "-c", script],
            cwd=environment.REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert (json.loads(said.stdout)["event"], json.loads(said.stderr)["event"]) == ("a_b", "c_d")


class TestPrivacy:
    @pytest.mark.parametrize("name", [*sorted(PRIVATE_FIELDS), "chatId", "API-Key", "waId", "Authorization"])
    def test_private_fields_have_no_value(self, written: Written, name: str) -> None:
        log.info("x_done", **{name: "hello"}, nested={"more": [{name: "hello"}]})
        assert "hello" not in written.text
        assert written.lines()[0][name] == "[private]"

    @pytest.mark.parametrize("phone", PHONES)
    def test_numbers_are_cut_out_of_free_text(self, written: Written, phone: str) -> None:
        for text in (
            f"cannot reach {phone}",
            f"{phone}@c.us is gone",
            f"to={phone},",
            f"({phone})",
            f'"{phone}"',
            f"true_{phone}@c.us_3EB0",
        ):
            log.warning("x_failed", reason=text, nested={"why": [text]}, error=ValueError(text))
            logging.getLogger("lib").error("library says %s", text)
            with pytest.raises(ValueError, match="cannot") as raised:
                raise ValueError(f"cannot {text}")
            log.error("x_crashed", exc_info=raised.value)
        shown = "".join(written.text.split())
        digits = "".join(character for character in phone if character.isdigit())
        assert digits[-7:] not in shown.replace("-", "").replace("(", "").replace(")", "").replace("/", "")

    @pytest.mark.parametrize(("text", "secret"), SECRETS.items())
    def test_credentials_are_cut_out_of_free_text(self, written: Written, text: str, secret: str) -> None:
        log.warning("x_failed", reason=text)
        logging.getLogger("lib").error(text)
        with pytest.raises(RuntimeError) as raised:
            raise RuntimeError(text)
        log.error("x_crashed", exc_info=raised.value)
        logging.getLogger("lib").error("again", exc_info=raised.value)
        assert secret not in written.text
        assert "[secret]" in written.text

    def test_the_cause_of_an_error_too(self, written: Written) -> None:
        with pytest.raises(RuntimeError) as raised:
            raise RuntimeError("Bearer abcdef") from KeyError("491701234567")
        log.error("x_crashed", exc_info=raised.value)
        (line,) = written.lines()
        assert line["error"] == "RuntimeError"
        assert "KeyError" in line["traceback"]
        assert "491701234567" not in written.text
        assert "abcdef" not in written.text

    def test_what_operators_need_stays(self) -> None:
        for text in (
            'connection to server at "127.0.0.1", port 5432 failed: Connection refused',
            "meta-0.0123456789abcdef",
            "no answer within 30.5 s, attempt 3 of 12",
            "Redis: Error 111 connecting to /tmp/run/redis.sock. Connection refused.",
        ):
            assert scrub(text) == text

    @given(st.text(max_size=60))
    def test_scrubbing_twice_changes_nothing_more(self, text: str) -> None:
        assert scrub(scrub(text)) == scrub(text)

    def test_a_fingerprint_identifies_without_revealing(self) -> None:
        assert fingerprint("491701234567") == fingerprint("491701234567")
        assert fingerprint("491701234567") != fingerprint("491701234568")
        assert len(fingerprint("x")) == 10


def test_a_line_that_does_not_fit_is_dropped_silently() -> None:
    """A full disk prints no call stacks on the operator's terminal."""
    code = (
        "import sys; from shared import logs;"
        "logs.configure(level='info', kind='api', out=open('/dev/full', 'w'), err=open('/dev/full', 'w'));"
        "logs.logger('api.x').warning('disk_full'); sys.stdout.write('alive'); sys.stdout.flush();"
        "import os; os._exit(0)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=environment.REPOSITORY, capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("alive", "")


def test_no_event_overwrites_the_process_fields() -> None:
    """A field called `incarnation` would hide which process wrote the line."""
    reserved = {"at", "level", "kind", "instance", "incarnation", "logger", "correlation_id", "event", "traceback"}
    rooms = ("shared", "api", "meta", "webdriver", "recorder", "supervision", "sandbox", "embedded")
    found = []
    for path in (path for room in rooms for path in (environment.REPOSITORY / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                found += [f"{path.name}:{node.lineno} {word.arg}" for word in node.keywords if word.arg in reserved]
    assert found == []


def test_a_line_goes_to_the_file_of_that_name_after_it_was_removed_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "api-0.err.log"
    path.parent.mkdir()
    script = f"""
import pathlib, shutil
from shared import logs
path = pathlib.Path({str(path)!r})
logs.configure(level="info", kind="api", err=path.open("a"))
log = logs.logger("api")
log.error("first")
shutil.rmtree(path.parent)
log.error("removed")
assert "removed" in path.read_text() and "first" not in path.read_text()
assert path.stat().st_mode & 0o077 == 0
path.rename(path.with_suffix(".moved"))
path.write_text("another file")
log.error("replaced")
assert path.read_text().startswith("another file") and "replaced" in path.read_text()
# the home itself is not made again: something removes everything
shutil.rmtree(path.parent.parent)
log.error("gone")
assert not path.parent.parent.exists()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
