"""What children are notified, made from what the operator said, what this home keeps, and what else runs here."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import SettingsInvalid
from shared.kinds import KINDS
from shared.settings import ChildEnvironment, Settings, load, load_child, to_environ
from supervision.configuration import Configuration
from supervision.environment import (
    KEPT,
    OF_A_CHAOS_RUN,
    ChildConfig,
    changed_for,
    child_environ,
    prepare,
    read_file,
    read_settings,
)
from tests.support import environment


class Embedded:
    """Stands for the room of the embedded servers."""

    def database_url(self, settings: Settings) -> str:
        """Where it would be."""
        return f"postgresql://embedded@/{settings.bulkhead_home.name}"

    def is_prepared(self, settings: Settings) -> bool:
        """Nothing has to be made."""
        return True

    def redis_url(self, settings: Settings) -> str:
        """Where it would be."""
        return "unix:///embedded.sock"


def child_config(home: Path, **operator: object) -> ChildConfig:
    return prepare(replace(Settings(), bulkhead_home=home, **operator), Embedded())  # type: ignore[arg-type]


def test_everything_is_completed_for_a_newcomer(home: Path) -> None:
    complete = child_config(home / "new")
    settings = complete.settings
    assert complete.uses_sandbox
    assert settings.database_url == "postgresql://embedded@/new" and settings.redis_url == "unix:///embedded.sock"
    assert settings.graph_base_url == "http://127.0.0.1:3100/graph"
    assert settings.d360_base_url == "http://127.0.0.1:3100/d360"
    assert settings.whatsapp_web_url == "http://127.0.0.1:3100/web/"
    assert len(base64.b64decode(settings.secret_encryption_key)) == 32
    secrets = [getattr(settings, name) for name in KEPT]
    assert all(len(secret) >= 32 for secret in secrets) and len(set(secrets)) == len(secrets)
    assert complete.counts == {
        "api": 2,
        "webdriver": 1,
        "meta": 2,
        "recorder": 1,
        "sandbox": 1,
        "postgres": 1,
        "redis": 1,
        "model": 0,
        "hooks": 1,
        "index": 1,
        "ai": 1,
    }
    assert load(to_environ(settings)) == settings


def test_secrets_are_kept_and_private(home: Path) -> None:
    first = child_config(home).settings
    (home / "api_key").chmod(0o644)
    assert child_config(home).settings == first
    for name, _, _ in KEPT.values():
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert (home / "api_key").read_text().strip() == first.api_key
    assert not list(home.glob(f"*.{os.getpid()}"))


def test_what_the_operator_says_wins(home: Path) -> None:
    settings = child_config(
        home,
        api_key="mine",
        database_url="postgresql://db/x",
        redis_url="redis://r",
        graph_base_url="http://graph.test",
        meta_app_secret="theirs",
        sandbox="on",
    ).settings
    assert (settings.api_key, settings.database_url, settings.redis_url) == ("mine", "postgresql://db/x", "redis://r")
    assert (settings.graph_base_url, settings.meta_app_secret) == ("http://graph.test", "theirs")
    assert settings.d360_base_url == "http://127.0.0.1:3100/d360"
    assert not (home / "api_key").exists() and not (home / "meta_app_secret").exists()


def test_with_real_credentials_there_is_no_sandbox_and_no_made_up_app_secret(home: Path) -> None:
    complete = child_config(home, meta_access_token="t", meta_phone_number_id="1", meta_app_secret="s")
    assert not complete.uses_sandbox and complete.counts["sandbox"] == 0
    assert complete.settings.graph_base_url == "https://graph.facebook.com"
    assert complete.settings.whatsapp_web_url == "https://web.whatsapp.com/"
    assert complete.settings.sandbox_access_token == ""
    assert child_config(home, sandbox="off").settings.meta_app_secret == ""


@pytest.mark.parametrize(
    ("address", "host"), [("0.0.0.0", "127.0.0.1"), ("10.0.0.7", "10.0.0.7"), ("::", "127.0.0.1"), ("::1", "[::1]")]
)
def test_the_sandbox_is_reached_where_it_listens(home: Path, address: str, host: str) -> None:
    assert child_config(home, bind_address=address).settings.graph_base_url == f"http://{host}:3100/graph"


def test_an_empty_secret_file_is_said_and_not_replaced(home: Path) -> None:
    (home / "api_key").write_text("\n")
    with pytest.raises(SettingsInvalid, match="api_key is empty"):
        child_config(home)


def test_a_home_that_cannot_be_used(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(SettingsInvalid, match="cannot be used"):
        child_config(home / "file" / "below")
    (home / "logs").write_text("")
    with pytest.raises(SettingsInvalid, match="cannot be used"):
        child_config(home)


def test_search_permission_for_the_database_user_is_left_and_nothing_else(home: Path) -> None:
    home.chmod(0o777)
    (home / "logs").mkdir()
    (home / "logs").chmod(0o755)
    child_config(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o711
    assert [stat.S_IMODE((home / name).stat().st_mode) for name in ("logs", "run")] == [0o711, 0o700]


def test_the_settings_file_fills_in_and_the_environment_wins(home: Path) -> None:
    (home / "settings.env").write_text("# ours\n\nAPI_PORT=4400\nLOG_LEVEL='debug'\nCOMPANY_ID=\"acme\"\n")
    settings = read_settings({"BULKHEAD_HOME": str(home), "API_PORT": "4401", "LOG_LEVEL": " "}, KINDS, only="api")
    assert (settings.port("api"), settings.log_level, settings.company_id, settings.only) == (
        4401,
        "debug",
        "acme",
        "api",
    )


def test_each_wrong_line_of_the_settings_file_is_named(home: Path) -> None:
    (home / "settings.env").write_text("API_PORT 4400\nAPIPORT=1\nBULKHEAD_HOME=/elsewhere\nLOG_LEVEL=info\n")
    with pytest.raises(SettingsInvalid) as wrong:
        read_file(home / "settings.env")
    assert [problem.split(":")[1] for problem in wrong.value.problems] == ["1", "2", "3"]
    (home / "settings.env").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        read_file(home / "settings.env")
    assert read_file(home / "none") == {}


def test_a_child_gets_its_own_part_and_nothing_of_the_service_manager(home: Path) -> None:
    identity = ChildEnvironment(
        process_name="meta", process_instance=1, process_incarnation="meta-1.x", notify_socket="/n", watchdog_usec=5
    )
    ours = {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "NOTIFY_SOCKET": "/systemd",
        "WATCHDOG_PID": "1",
        "WATCHDOG_USEC": "9",
        "LISTEN_FDS": "2",
        "LISTEN_FD": "9",
        "API_KEY": "stale",
        "PGHOST": "elsewhere",
        "AWS_SECRET_ACCESS_KEY": "the operator's own",
    }
    complete = child_config(home)
    rows = {row.name: row for row in complete.settings.kinds}
    environ = child_environ(complete, rows["meta"], identity, ours)
    assert load_child(environ) == identity
    assert environ["PATH"] == "/bin" and environ["LC_ALL"] == "C.UTF-8" and environ["PYTHONFAULTHANDLER"] == "1"
    assert {"WATCHDOG_PID", "LISTEN_FDS", "PGHOST", "AWS_SECRET_ACCESS_KEY", "API_KEY"}.isdisjoint(environ)
    assert environ["META_APP_SECRET"] == (home / "meta_app_secret").read_text().strip()
    api = child_environ(complete, rows["api"], replace(identity, process_name="api"), ours)
    assert api["API_KEY"] == (home / "api_key").read_text().strip() and "META_APP_SECRET" not in api
    assert load(environ).seen_by(rows["meta"]).meta_app_secret == environ["META_APP_SECRET"]


def test_what_sets_a_clock_wrong_passes_in_a_chaos_run_alone(home: Path) -> None:
    complete = child_config(home)
    row, identity = complete.settings.kind("meta"), ChildEnvironment(process_name="meta")
    given = dict.fromkeys(OF_A_CHAOS_RUN, "x")
    assert OF_A_CHAOS_RUN.isdisjoint(child_environ(complete, row, identity, given))
    chaos = replace(complete, settings=replace(complete.settings, chaos="on"))
    assert child_environ(chaos, row, identity, given).keys() >= OF_A_CHAOS_RUN


def test_a_setting_of_one_kind_that_was_never_set_is_a_change() -> None:
    """A kind's own settings are known by the kind alone: they are compared as what it was given."""

    def config(**environ: str) -> ChildConfig:
        settings = load({"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x", **environ})
        return ChildConfig(settings=settings, counts={}, uses_sandbox=False)

    newest = [config(LLM_PRICES="none"), config(LLM_PRICES="none"), config()]
    configuration = Configuration(config(), inherited={}, reload=lambda: newest.pop(0))
    assert [set(configuration.reload().changed) for _ in range(3)] == [{"ai", "index"}, set(), {"ai", "index"}]


def test_only_kinds_with_outdated_settings_are_changed() -> None:
    old = to_environ(Settings())

    def changed(**new: object) -> set[str]:
        return set(changed_for(load(old | environment.as_environ(new)), old))

    assert changed() == set()
    assert changed(api_instances=5, only="", log_keep=9, meta_restart_intensity=3, api_memory_hard_mb=0) == set()
    assert changed(database_pool_meta_max=7) == changed(meta_watchdog_s=9) == {"meta"}
    assert changed(api_port=3999, sandbox_port=3998) == {"api", "sandbox"}
    assert changed(company_id="acme") == {"api", "meta", "recorder", "sandbox"}
    assert changed(log_level="debug") == {row.name for row in KINDS}
    assert changed_for(Settings(), {}) == frozenset()
