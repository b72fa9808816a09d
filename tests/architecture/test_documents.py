"""Documents say what the code says: settings, exit codes and log events, no more and no less."""

from __future__ import annotations

from pathlib import Path

import pytest

from script import documents
from shared.kinds import KIND_SETTINGS
from shared.process.exit_codes import ExitCode
from shared.settings import child_variables, variables
from supervision.commands.command_exits import CommandExit
from tests.architecture import checks
from tests.architecture.test_layout import PROGRAM, require_none
from tests.support import environment

pytestmark = pytest.mark.fast

DOCS = environment.REPOSITORY / "docs"


def test_made_sections_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert documents.main(["--check"]) == 0, capsys.readouterr().out


def test_every_setting_is_in_the_document() -> None:
    patterns = [setting.pattern.replace("{KIND}", "<KIND>") for setting in KIND_SETTINGS]
    names = dict.fromkeys([*variables(()), *child_variables()], "shared/settings.py")
    names |= dict.fromkeys(patterns, "shared/kinds.py")
    require_none(
        checks.undocumented(
            "setting", names, checks.first_cells((DOCS / "settings.md").read_text()), "docs/settings.md"
        )
    )


def test_every_exit_code_is_in_the_document() -> None:
    names = {code.name: "shared/process/exit_codes.py" for code in ExitCode}
    names |= {code.name: "supervision/commands/command_exits.py" for code in CommandExit}
    require_none(
        checks.undocumented(
            "exit code", names, checks.first_cells((DOCS / "exit-codes.md").read_text()), "docs/exit-codes.md"
        )
    )


def test_every_log_event_is_in_the_document() -> None:
    document = checks.first_cells((DOCS / "log-events.md").read_text())
    require_none(checks.undocumented("log event", checks.log_events(PROGRAM), document, "docs/log-events.md"))


def test_a_stale_section_is_noticed_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text("before\n<!-- made by script/docs: exit-codes -->\n| old |\n<!-- end -->\nafter\n")
    monkeypatch.setattr(documents, "REPOSITORY", tmp_path)
    assert documents.main(["--check"]) == 1
    assert "docs/page.md: is out of date" in capsys.readouterr().out
    assert "| old |" in page.read_text()
    assert documents.main([]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "`CONFIGURATION` | 78 |" in text
    assert "| old |" not in text
    assert documents.main(["--check"]) == 0


def test_a_section_without_a_generator_is_an_error() -> None:
    with pytest.raises(KeyError, match="no-such-table"):
        documents.written_anew("<!-- made by script/docs: no-such-table -->\n<!-- end -->")
