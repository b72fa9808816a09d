"""Settings: each wrong value is named, each right one reaches a child unchanged, and no secret shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsInvalid
from shared.kinds import KINDS, Variable, kind_settings
from shared.settings import (
    ChildEnvironment,
    Settings,
    aliases,
    child_to_environ,
    child_variables,
    environ_for,
    load,
    load_child,
    to_environ,
    variables,
    visible_fields,
)
from shared.spelling import misspelt

ROWS = variables()
NUMBERS = [row for row in ROWS.values() if isinstance(row.default, int | float)]
BOUNDED = [*NUMBERS, *(row for row in child_variables().values() if isinstance(row.default, int))]
CHOICES = [row for row in ROWS.values() if row.choices]
NAMES_OF_OLD = {
    "API_PORT": "3000",
    "WEBDRIVER_PORT": "3001",
    "META_PORT": "3002",
    "SANDBOX_PORT": "3100",
    "API_INSTANCES": "2",
    "META_INSTANCES": "2",
    "WEBDRIVER_INSTANCES": "1",
    "DATABASE_POOL_API_MAX": "20",
    "DATABASE_POOL_WEBDRIVER_MAX": "10",
    "DATABASE_POOL_META_MAX": "20",
    "DATABASE_POOL_RECORDER_MAX": "4",
    "META_IN_FLIGHT": "200",
    "WEBDRIVER_IN_FLIGHT": "20",
    "META_SEND_S": "10.0",
    "WEBDRIVER_SEND_S": "120.0",
    "RETRY_BASE_META_S": "1.0",
    "RETRY_BASE_WEBDRIVER_S": "2.0",
}
"""Names and defaults that operators know."""
SECRETS = [row.name.lower() for row in ROWS.values() if row.secret]
# secrets that are variables of one kind, and no fields of `Settings`
OWN_SECRETS = {variable.name for row in KINDS for variable in row.variables if variable.secret}


def with_every_secret() -> Settings:
    """Return settings in which each secret has a value made of its name."""
    fields = {name: f"hidden-{name}" for name in SECRETS if name.upper() not in OWN_SECRETS}
    values = {name: f"hidden-{name.lower()}" for name in OWN_SECRETS}
    return Settings(**fields, values=values)  # type: ignore[arg-type]  # secrets are texts


def value(settings: Settings, name: str) -> object:
    """Return a setting by the name of its variable, also one that a kind's row makes."""
    for row in settings.kinds:
        for setting, variable in kind_settings(row):
            if variable == name:
                return getattr(row, setting.field)
    # a variable of a single kind is no field
    return settings.values[name] if name in settings.values else getattr(settings, name.lower())


def problems(**variables: object) -> tuple[str, ...]:
    """Return what is wrong with these variables."""
    with pytest.raises(SettingsInvalid) as refused:
        load({name.upper(): str(value) for name, value in variables.items()})
    return refused.value.problems


class TestValues:
    def test_nothing_set_is_fine(self) -> None:
        assert load({}) == Settings()

    def test_empty_and_blank_are_not_set(self) -> None:
        assert load({"API_PORT": "", "LOG_LEVEL": "  ", "API_KEY": "\t"}) == load({})

    def test_blanks_around_a_value_do_not_count(self) -> None:
        assert load({"API_PORT": " 4000 ", "API_KEY": " a long key\n"}).port("api") == 4000
        assert load({"API_KEY": " a long key\n"}).api_key == "a long key"

    @pytest.mark.parametrize("text", ["many", "1,5", "0x10", "1 2", "--1"])
    def test_what_is_no_number_is_named_with_its_value(self, text: str) -> None:
        assert set(problems(**{row.name: text for row in NUMBERS})) == {
            f"{row.name}={text!r} is not {'a whole number' if isinstance(row.default, int) else 'a number'}"
            for row in NUMBERS
        }

    @pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
    def test_what_is_not_finite_is_refused(self, text: str) -> None:
        rows = [row for row in NUMBERS if isinstance(row.default, float)]
        found = problems(**{row.name: text for row in rows})
        assert {problem.partition("=")[0] for problem in found} == {row.name for row in rows}

    @pytest.mark.parametrize("side", ["low", "high"])
    def test_both_ends_of_a_range_are_inside_and_beyond_them_is_refused(self, side: str) -> None:
        for row in BOUNDED:
            limit = row.low if side == "low" else row.high
            if limit is None:
                assert side == "high" or row.default == -1, f"{row.name}: only upper ends may be open"
                continue
            name, child = row.name, row.name not in ROWS
            # a port may be its neighbour's, or lie in the admin ports; those rules have tests of their own
            elsewhere = {} if child or name == "ADMIN_PORT" else {"ADMIN_PORT": "5000"}
            edge = int(limit) if isinstance(row.default, int) else limit
            given = elsewhere | {name: str(edge)}
            found = getattr(load_child(given), name.lower()) if child else value(load(given), name)
            assert found == edge, name
            step = 1 if isinstance(row.default, int) else 0.001
            with pytest.raises(
                SettingsInvalid, match=f"{name}=.* is out of range: at {'least' if side == 'low' else 'most'}"
            ):
                (load_child if child else load)(elsewhere | {name: str(edge - step if side == "low" else edge + step)})

    def test_a_word_that_is_no_choice_is_refused(self) -> None:
        assert set(problems(**{row.name: "perhaps" for row in CHOICES})) == {
            f"{row.name}='perhaps' is not one of {', '.join(row.choices)}" for row in CHOICES
        }
        for row in CHOICES:
            for word in row.choices:
                assert value(load({row.name: word}), row.name) == word

    def test_every_problem_is_named_at_once(self) -> None:
        found = problems(api_port="x", meta_port="70000", log_level="loud", retry_base_meta_s="-1")
        assert [problem.split("=")[0] for problem in found] == [
            "LOG_LEVEL",
            "API_PORT",
            "META_PORT",
            "RETRY_BASE_META_S",
        ]

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            (
                "database_url",
                ["postgresql://u:p@h/d", "postgres://h/d"],
                ["mysql://u:p@h/d", "h:5432", "host=h dbname=d"],
            ),
            (
                "redis_url",
                ["redis://h:6379/0", "rediss://h", "unix:///run/redis.sock?db=0"],
                ["http://h", "h:6379", "postgresql://h"],
            ),
            (
                "graph_base_url",
                ["https://graph.facebook.com", "http://127.0.0.1:1"],
                ["graph.facebook.com", "ftp://u:p@h", "https://"],
            ),
            ("d360_base_url", ["https://h"], ["h"]),
            ("whatsapp_web_url", ["https://web.whatsapp.com/"], ["web"]),
        ],
    )
    def test_addresses(self, name: str, good: list[str], bad: list[str]) -> None:
        for address in good:
            assert getattr(load({name.upper(): address}), name) == address
        for address in bad:
            (problem,) = problems(**{name: address})
            assert problem.startswith(f"{name.upper()} ")
            assert "@" not in problem, "an address may hold a password"

    @pytest.mark.parametrize("company", ["a b", "ä", "x" * 65, "a/b", "a;b"])
    def test_a_company_that_no_row_could_have(self, company: str) -> None:
        (problem,) = problems(company_id=company)
        assert problem.startswith("COMPANY_ID=")


class TestTogether:
    @pytest.mark.parametrize(
        ("variables", "named"),
        [
            ({"meta_access_token": "t"}, "META_PHONE_NUMBER_ID"),
            ({"meta_phone_number_id": "1"}, "META_ACCESS_TOKEN"),
            ({"meta_access_token": "t", "meta_phone_number_id": "1"}, "META_APP_SECRET"),
            ({"api_port": 3002}, "META_PORT"),
            ({"sandbox_port": 3001}, "WEBDRIVER_PORT"),
            ({"admin_port": 2991}, "ADMIN_PORT"),
            ({"api_port": 3260}, "ADMIN_PORT"),
            ({"admin_port": 65500}, "ADMIN_PORT"),
            ({"crash_points": "meta:claim.begun=kill@1"}, "CHAOS"),
            ({"media_s3_key_id": "k"}, "MEDIA_S3_SECRET"),
        ],
    )
    def test_what_does_not_go_together(self, variables: dict[str, Any], named: str) -> None:
        assert any(named in problem for problem in problems(**variables))

    def test_what_does(self) -> None:
        assert (
            load({"META_ACCESS_TOKEN": "t", "META_PHONE_NUMBER_ID": "1", "META_APP_SECRET": "s"}).meta_phone_number_id
            == "1"
        )
        assert load({"API_PORT": "3265"}).port("api") == 3265, "no slot has it"

    def test_the_home_is_absolute_for_every_process(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        assert load({"BULKHEAD_HOME": "here"}).bulkhead_home == tmp_path / "here"
        monkeypatch.setenv("HOME", str(tmp_path))
        assert load({"BULKHEAD_HOME": "~/there"}).bulkhead_home == tmp_path / "there"
        assert load({"BULKHEAD_HOME": "/a"}).path("run", "x") == Path("/a/run/x")

    def test_only_what_is_ours_is_read(self) -> None:
        assert load({"PORT": "nonsense", "PATH": "/bin", "api_port": "9"}) == load({})
        with pytest.raises(SettingsInvalid):
            load_child({"PORT": "nonsense"})


def value_of(row: Variable) -> st.SearchStrategy[Any]:
    """Return values that a setting may have."""
    low, high = row.low, row.high
    if row.choices:
        return st.sampled_from(row.choices)
    if isinstance(row.default, int):
        return st.integers(-(2**31) if low is None else int(low), 2**40 if high is None else int(high))
    if isinstance(row.default, float):
        return st.floats(low, 1e9 if high is None else high, allow_nan=False, allow_infinity=False)
    return st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=30)


BOUND_TO_OTHERS = (
    "_port",
    "_url",
    "crash_points",
    "api_key",
    "company_id",
    "bulkhead_host",
    "bulkhead_home",
    "media_storage",
    "media_s3_key_id",
    "media_s3_secret",
)
PLAIN = [row for row in variables(()).values() if not row.name.lower().endswith(BOUND_TO_OTHERS)]


class TestRoundTrip:
    @given(
        st.fixed_dictionaries({row.name.lower(): value_of(row) for row in PLAIN if not row.name.startswith("META_")})
    )
    def test_a_child_reads_what_its_parent_has(self, values: dict[str, Any]) -> None:
        settings = replace(load({}), **values)
        assert load(to_environ(settings)) == settings

    def test_also_all_defaults_and_addresses(self) -> None:
        settings = load(
            {
                "DATABASE_URL": "postgresql://u:p%20w@/d?host=/run",
                "REDIS_URL": "unix:///r.sock",
                "BULKHEAD_HOME": "/a b/c",
            }
        )
        assert load(to_environ(settings)) == settings

    @given(st.fixed_dictionaries({name.lower(): value_of(row) for name, row in child_variables().items()}))
    def test_the_environment_of_a_child_is_read_back(self, values: dict[str, Any]) -> None:
        received = ChildEnvironment(**values)
        assert load_child(child_to_environ(received)) == received

    def test_a_slot_has_a_name(self) -> None:
        assert ChildEnvironment(process_name="meta", process_instance=3).slot == "meta-3"


class TestSecrets:
    def test_none_shows(self) -> None:
        shown = repr(with_every_secret())
        assert len(SECRETS) >= 8
        assert "hidden" not in shown
        assert "log_level='info'" in shown

    def test_those_that_sound_like_one_are_marked(self) -> None:
        secret_words = ("token", "secret", "key", "password", "_url")
        harmless = {
            "secret_key_id",
            "graph_base_url",
            "d360_base_url",
            "instagram_base_url",
            "public_url",
            "whatsapp_web_url",
            "sandbox_url",
            "media_s3_url",
            "media_s3_key_id",
            "openai_base_url",
            "local_model_url",
            # how many of a model's
            "ai_turn_tokens",
        }
        names = [name.lower() for name in ROWS]
        assert [
            name for name in names if any(word in name for word in secret_words) and name not in {*SECRETS, *harmless}
        ] == []

    def test_no_default_is_a_secret(self) -> None:
        assert [name for name in SECRETS if ROWS[name.upper()].default] == []


class TestKinds:
    def test_every_row_makes_its_settings_with_its_own_defaults(self) -> None:
        assert {name: str(row.default) for name, row in variables().items() if name in NAMES_OF_OLD} == NAMES_OF_OLD
        for row in KINDS:
            for setting, name in kind_settings(row):
                assert variables()[name].default == getattr(row, setting.field)

    def test_an_operators_value_replaces_the_rows(self) -> None:
        settings = load({"META_WATCHDOG_S": "7.5", "META_RESTART_INTENSITY": "3", "RECORDER_MEMORY_HARD_MB": "99"})
        assert settings.kind("meta") == replace(KINDS[2], watchdog_s=7.5, intensity=3)
        assert settings.kind("recorder").memory_hard_mb == 99
        assert settings.kind("api") == KINDS[0]
        assert load(to_environ(settings)) == settings

    def test_a_kind_has_no_setting_that_means_nothing_to_it(self) -> None:
        assert {"RECORDER_PORT", "DATABASE_POOL_SANDBOX_MAX", "API_IN_FLIGHT", "REDIS_SEND_S"}.isdisjoint(variables())

    def test_a_row_alone_adds_settings_of_its_own(self) -> None:
        greeting = Variable(name="EXAMPLE_GREETING", default="hello", purpose="How it greets.", secret=True)
        most = Variable(name="EXAMPLE_MOST", default=3, purpose="How many.", low=1, high=5)
        row = replace(
            KINDS[0], name="example", port=3900, admin_offset=900, variables=(greeting, most), settings=(), secrets=()
        )
        rows = (*KINDS, row)
        settings = load({"EXAMPLE_PORT": "3901", "EXAMPLE_MOST": "4"}, rows)
        assert (settings.port("example"), settings.own("EXAMPLE_MOST"), settings.own("EXAMPLE_GREETING")) == (
            3901,
            4,
            "hello",
        )
        environ = environ_for(settings, settings.kind("example"))
        assert (environ["EXAMPLE_GREETING"], environ["EXAMPLE_MOST"]) == ("hello", "4")
        assert load(environ, rows).kind("example") == settings.kind("example")
        assert "EXAMPLE_GREETING" not in environ_for(settings, settings.kind("api"))
        with pytest.raises(SettingsInvalid, match="EXAMPLE_MOST=6 is out of range: at most 5"):
            load({"EXAMPLE_MOST": "6"}, rows)
        with pytest.raises(SettingsInvalid, match="EXAMPLE_PORT=3000 is also API_PORT"):
            load({"EXAMPLE_PORT": "3000"}, rows)
        with pytest.raises(KeyError, match="no kind declares"):
            settings.own("EXAMPLE_COLOUR")

    def test_names_of_the_users_documents_are_aliases(self) -> None:
        assert {"WWEBJS_PORT": "WEBDRIVER_PORT", "DATABASE_POOL_WWEBJS_MAX": "DATABASE_POOL_WEBDRIVER_MAX"}.items() <= (
            aliases().items()
        )
        settings = load({"WWEBJS_PORT": "3500", "DATABASE_POOL_WWEBJS_MAX": "7", "DATABASE_POOL_WEBDRIVER_MAX": "7"})
        assert (settings.port("webdriver"), settings.kind("webdriver").pool_size) == (3500, 7)
        with pytest.raises(SettingsInvalid, match="WEBDRIVER_PORT and WWEBJS_PORT are one setting and differ"):
            load({"WWEBJS_PORT": "3500", "WEBDRIVER_PORT": "3501"})
        with pytest.raises(SettingsInvalid, match="WEBDRIVER_PORT='x' is not a whole number"):
            load({"WWEBJS_PORT": "x"})

    def test_names_near_ours_are_distinguished_from_the_machines_own(self) -> None:
        machine = [
            "PATH",
            "HOME",
            "LANG",
            "PYTHONPATH",
            "LD_LIBRARY_PATH",
            "SSH_AUTH_SOCK",
            "PGHOST",
            "KUBERNETES_PORT",
        ]
        near = {"DATABASE_POOL_META": "DATABASE_POOL_META_MAX", "BULKHED_HOME": "BULKHEAD_HOME", "API_PROT": "API_PORT"}
        assert misspelt([*machine, *near, "API_PORT", "WWEBJS_PORT", "PROCESS_NAME"]) == near


class TestLeastPrivilege:
    def test_each_kind_sees_what_its_row_lists_and_no_other_secret(self) -> None:
        every = with_every_secret()
        for row in KINDS:
            environ, seen = environ_for(every, row), every.seen_by(row)
            received = {name for name in SECRETS if name.upper() in environ}
            own = {variable.name.lower() for variable in row.variables if variable.secret}
            assert received == set(row.secrets) | own
            assert all(f"hidden-{name}" not in "".join(environ.values()) for name in set(SECRETS) - received)
            for name in set(SECRETS) - received - {secret.lower() for secret in OWN_SECRETS}:
                with pytest.raises(AttributeError, match=f"may not see the setting '{name}'"):
                    getattr(seen, name)
            assert {getattr(seen, name) for name in visible_fields(row)}

    def test_the_servers_and_the_stand_ins_see_neither_database_nor_keys(self) -> None:
        rows = {row.name: row for row in KINDS}
        assert rows["postgres"].secrets == rows["redis"].secrets == ()
        private = {"database_url", "redis_url", "api_key", "secret_encryption_key", "meta_access_token"}
        assert private.isdisjoint(rows["sandbox"].secrets)

    def test_what_no_setting_is_called_is_no_secret(self) -> None:
        with pytest.raises(AttributeError, match="no setting 'colour'"):
            getattr(load({}), "colour")  # noqa: B009 - a name that mypy would refuse
