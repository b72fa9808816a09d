"""Settings: each wrong value is named, each right one reaches a child unchanged, and no secret shows."""

from __future__ import annotations

from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsInvalid
from shared.settings import ChildEnvironment, Settings, load, load_child, to_environ

ROWS = {row.name: row for row in fields(Settings)}
NUMBERS = [row for row in ROWS.values() if isinstance(row.default, int | float)]
BOUNDED = [
    (row, side)
    for row in [*NUMBERS, *(row for row in fields(ChildEnvironment) if isinstance(row.default, int))]
    for side in ("low", "high")
]
CHOICES = [row for row in ROWS.values() if row.metadata["choices"]]
SECRETS = [row.name for row in ROWS.values() if row.metadata["secret"]]


def problems(**variables: object) -> tuple[str, ...]:
    """Return what is wrong with these variables."""
    with pytest.raises(SettingsInvalid) as refused:
        load({name.upper(): str(value) for name, value in variables.items()})
    return refused.value.problems


class TestValues:
    def test_nothing_set_is_fine(self) -> None:
        assert load({}) == replace(Settings(), bulkhead_home=Path("var").absolute())

    def test_empty_and_blank_are_not_set(self) -> None:
        assert load({"API_PORT": "", "LOG_LEVEL": "  ", "API_KEY": "\t"}) == load({})

    def test_blanks_around_a_value_do_not_count(self) -> None:
        assert load({"API_PORT": " 4000 ", "API_KEY": " key\n"}).api_port == 4000
        assert load({"API_KEY": " key\n"}).api_key == "key"

    @pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row.name)
    @pytest.mark.parametrize("text", ["many", "1,5", "0x10", "1 2", "--1"])
    def test_what_is_no_number_is_named_with_its_value(self, row: Field[Any], text: str) -> None:
        assert problems(**{row.name: text}) == (
            f"{row.name.upper()}={text!r} is not {'a whole number' if isinstance(row.default, int) else 'a number'}",
        )

    @pytest.mark.parametrize(
        "row", [row for row in NUMBERS if isinstance(row.default, float)], ids=lambda row: row.name
    )
    @pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
    def test_what_is_not_finite_is_refused(self, row: Field[Any], text: str) -> None:
        (problem,) = problems(**{row.name: text})
        assert row.name.upper() in problem

    @pytest.mark.parametrize(
        ("row", "side"), BOUNDED, ids=lambda value: value if isinstance(value, str) else value.name
    )
    def test_both_ends_of_a_range_are_inside_and_beyond_them_is_refused(self, row: Field[Any], side: str) -> None:
        limit = row.metadata[side]
        if limit is None:
            assert side == "high" or row.default == -1, "only upper ends may be open"
            return
        child = row.name not in ROWS
        read = load_child if child else load
        name = row.name.upper()
        # a port may be its neighbour's, or lie in the admin ports; those rules have tests of their own
        elsewhere = {} if child else {"ADMIN_PORT": "5000"} | ({"API_PORT": "9001"} if name == "ADMIN_PORT" else {})
        edge = int(limit) if isinstance(row.default, int) else limit
        assert getattr(read(elsewhere | {name: str(edge)}), row.name) == edge
        step = 1 if isinstance(row.default, int) else 0.001
        with pytest.raises(
            SettingsInvalid, match=f"{name}=.* is out of range: at {'least' if side == 'low' else 'most'}"
        ):
            read({name: str(edge - step if side == "low" else edge + step)})

    @pytest.mark.parametrize("row", CHOICES, ids=lambda row: row.name)
    def test_a_word_that_is_no_choice_is_refused(self, row: Field[Any]) -> None:
        (problem,) = problems(**{row.name: "perhaps"})
        assert problem == f"{row.name.upper()}='perhaps' is not one of {', '.join(row.metadata['choices'])}"
        for word in row.metadata["choices"]:
            assert getattr(load({row.name.upper(): word}), row.name) == word

    def test_every_problem_is_named_at_once(self) -> None:
        found = problems(api_port="x", meta_port="70000", log_level="loud", retry_base_meta_s="-1")
        assert [problem.split("=")[0] for problem in found] == [
            "API_PORT",
            "META_PORT",
            "RETRY_BASE_META_S",
            "LOG_LEVEL",
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
            ({"admin_port": 2950}, "ADMIN_PORT"),
            ({"api_port": 3299}, "ADMIN_PORT"),
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
        assert load({"API_PORT": "3300"}).api_port == 3300, "the first beyond the admin ports"

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


def value_of(row: Field[Any]) -> st.SearchStrategy[Any]:
    """Return values that a setting may have."""
    low, high = row.metadata["low"], row.metadata["high"]
    if row.metadata["choices"]:
        return st.sampled_from(row.metadata["choices"])
    if isinstance(row.default, int):
        return st.integers(-(2**31) if low is None else int(low), 2**40 if high is None else int(high))
    if isinstance(row.default, float):
        return st.floats(low, 1e9 if high is None else high, allow_nan=False, allow_infinity=False)
    return st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=30)


BOUND_TO_OTHERS = (
    "_port",
    "_url",
    "crash_points",
    "company_id",
    "bulkhead_home",
    "media_storage",
    "media_s3_key_id",
    "media_s3_secret",
)
PLAIN = [row for row in ROWS.values() if not row.name.endswith(BOUND_TO_OTHERS)]


class TestRoundTrip:
    @given(st.fixed_dictionaries({row.name: value_of(row) for row in PLAIN if not row.name.startswith("meta_")}))
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

    @given(st.fixed_dictionaries({row.name: value_of(row) for row in fields(ChildEnvironment)}))
    def test_what_a_child_is_told_about_itself(self, values: dict[str, Any]) -> None:
        told = ChildEnvironment(**values)
        assert load_child(to_environ(told)) == told

    def test_a_slot_has_a_name(self) -> None:
        assert ChildEnvironment(process_name="meta", process_instance=3).slot == "meta-3"


class TestSecrets:
    def test_none_shows(self) -> None:
        values = {name: f"hidden-{name}" for name in SECRETS}
        shown = repr(Settings(**values))  # type: ignore[arg-type]  # secrets are texts
        assert len(SECRETS) >= 8
        assert "hidden" not in shown
        assert "api_port=3000" in shown

    def test_those_that_sound_like_one_are_marked(self) -> None:
        telling = ("token", "secret", "key", "password", "_url")
        harmless = {
            "secret_key_id",
            "graph_base_url",
            "d360_base_url",
            "instagram_base_url",
            "public_url",
            "whatsapp_web_url",
            "media_s3_url",
            "media_s3_key_id",
        }
        assert [
            name for name in ROWS if any(word in name for word in telling) and name not in {*SECRETS, *harmless}
        ] == []

    def test_no_default_is_a_secret(self) -> None:
        assert [name for name in SECRETS if ROWS[name].default] == []
