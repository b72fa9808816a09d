"""What a browser may use, and what happens to one that uses more: measured on real Chromium, decided by tables."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from shared.clock import monotonic
from shared.states import DesiredSession, SessionState
from tests.support.waiting import patient_by
from tests.webdriver.env import QUICK, Web, chromiums, message, run, session_env, soon
from webdriver.chromium import processes
from webdriver.chromium.process import Chromium, ChromiumFailed
from webdriver.chromium.processes import Memory, Sample
from webdriver.session import events
from webdriver.session.connects import Connects
from webdriver.session.outcome_feedback import OutcomeFeedback
from webdriver.session.policy import SessionPolicy
from webdriver.session.resource_usage import ResourceUsage
from webdriver.session.session import NotNow

S = SessionState
PHONE = "60111222333"
SOFT_MB = 600.0
"""More than a browser with the sandbox's page uses alone (about 350 MB), less than one that leaks for some seconds."""


class TestResourceUsage:
    """Decisions, on figures that are made up."""

    policy = SessionPolicy(memory_soft_mb=500, memory_hard_mb=900, cpu_most=0.8, cpu_for_s=60, max_age_s=3600)

    def fed(
        self, *, pss: float = 200.0, cpu: float = 0.1, age_s: float = 100.0, may_burn: bool = False
    ) -> ResourceUsage:
        """Return the figures of a browser that used so much all its life, looked at each two seconds."""
        made = ResourceUsage(self.policy, 0.0)
        for second in range(0, int(age_s) + 1, 2):
            made.sampled(Sample(rss_mb=3 * pss, cpu_s=cpu * second, processes=7), float(second), may_burn=may_burn)
        made.measured(Memory(rss=3 * pss, pss=pss, uss=pss / 2), age_s)
        return made

    @pytest.mark.parametrize(
        ("fields", "excess", "words"),
        [
            ({}, "", ""),
            ({"pss": 499.0}, "", ""),
            ({"pss": 500.0}, "recycle", "uses 500 MB, above 500"),
            ({"pss": 900.0}, "kill", "above the hard ceiling of 900"),
            ({"cpu": 0.9}, "recycle", "more than 0.8 processors for 100 s"),
            ({"cpu": 0.9, "age_s": 58.0}, "", ""),
            ({"cpu": 0.9, "may_burn": True}, "", ""),
            ({"age_s": 3600.0}, "recycle", "1.0 hours old"),
        ],
    )
    def test_what_exceeds_a_limit(self, fields: dict[str, float], excess: str, words: str) -> None:
        found, reason = self.fed(**fields).excess(fields.get("age_s", 100.0))  # type: ignore[arg-type]  # a bool is among them
        assert found == excess
        assert words in reason

    def test_no_limit_is_no_limit(self) -> None:
        self.policy = SessionPolicy(memory_soft_mb=0, memory_hard_mb=0, cpu_most=0, max_age_s=0)
        assert self.fed(pss=5000.0, cpu=4.0, age_s=10_000.0).excess(10_000.0) == ("", "")

    def test_a_calm_moment_begins_the_minute_anew(self) -> None:
        made = self.fed(cpu=0.9, age_s=58.0)
        made.sampled(Sample(600.0, 0.9 * 58, 7), 60.0, may_burn=False)
        made.sampled(Sample(600.0, 0.9 * 58 + 0.9 * 50, 7), 110.0, may_burn=False)
        assert made.excess(110.0) == ("", "")

    def test_a_closer_look_is_due_when_it_grew_or_long_ago(self) -> None:
        made = ResourceUsage(self.policy, 0.0)
        assert made.sampled(Sample(600.0, 0.0, 7), 1.0, may_burn=False), "nobody has looked yet"
        made.measured(Memory(600.0, 200.0, 100.0), 1.0)
        assert not made.sampled(Sample(630.0, 0.0, 7), 3.0, may_burn=False)
        assert made.sampled(Sample(645.0, 0.0, 7), 5.0, may_burn=False), "it grew"
        assert made.sampled(Sample(630.0, 0.0, 7), 22.0, may_burn=False), "the last look is old"

    def test_figures_of_processes_that_ended_do_not_count_backwards(self) -> None:
        made = self.fed(cpu=0.5)
        made.sampled(Sample(600.0, 1.0, 6), 102.0, may_burn=False)
        assert made.stats(102.0)["cpu"] == 0.0
        assert made.stats(102.0)["ageSeconds"] == 102.0


class TestConnects:
    """The count of connects, with a clock of the test's."""

    def made(self, file: Path) -> Connects:
        return Connects(file, most=3, pause_s=900.0, clock=lambda: self.now)

    def test_too_many_mean_a_pause_that_outlives_the_process(self, tmp_path: Path) -> None:
        self.now = 1000.0
        connects = self.made(tmp_path / "1")
        for _ in range(3):
            assert connects.wait_s() == 0
            self.now += 60
            connects.note()
        assert connects.wait_s() == 900
        self.now += 300
        assert self.made(tmp_path / "1").wait_s() == 600, "another life of the process knows it"
        self.now += 600
        assert connects.wait_s() == 0, "one more may be tried"
        connects.note()
        assert connects.wait_s() == 900
        self.now += 3600
        assert (connects.count(), connects.wait_s()) == (0, 0)

    def test_a_wrong_clock_and_a_damaged_file_stop_no_session(self, tmp_path: Path) -> None:
        self.now = 1000.0
        file = tmp_path / "1"
        file.write_text("990.0\n999999.0\n")
        assert self.made(tmp_path / "1").count() == 1
        file.write_text("x\n")
        connects = self.made(tmp_path / "1")
        assert connects.count() == 0
        connects.note()
        assert self.made(tmp_path / "1").count() == 1
        connects.forget()
        assert connects.count() == 0


def test_what_a_browser_uses_is_measured(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            here.spawn(here.sessions.measure(), "measure")
            figures = await soon(lambda: "pssMb" in here.store.stats.get(1, {}) and here.store.stats[1], 20)
            assert figures["rssMb"] > figures["pssMb"] > figures["ussMb"] > 20
            assert figures["processes"] == len(processes.pids_of_session(here.session().pid or 0)) >= 4
            assert figures["readyAfterSeconds"] > 0
            assert figures["connectsLastHour"] == 1
            assert processes.sample([2**22 - 3]) == {}, "one that is gone is left out"

    run(scenario())


def test_a_leak_is_ended_at_a_quiet_moment_without_a_new_link(home: Path, web: Web) -> None:
    policy = replace(QUICK, memory_soft_mb=SOFT_MB, quiet_s=1.0)

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            await here.link()
            first = here.session().pid
            here.spawn(here.sessions.measure(), "measure")
            # a send is in hand when the ceiling is met: it is finished first
            await here.order(PHONE, "faults", {"hold_after_s": 6.0})
            sending = asyncio.create_task(here.channel.send(message("in hand"), _record, patient_by(30)))
            await soon(lambda: web.arrived("in hand"), 20)
            await here.order(PHONE, "leak", {"amount": 100})
            assert type(await sending).__name__ == "Sent"
            await here.order(PHONE, "faults", {"hold_after_s": 0.0})
            await soon(lambda: here.session().replacements == 1, 30, lambda: str(here.session().stats()))
            await here.until(S.READY, within_s=40)
            assert here.session().pid != first
            assert here.session().restarts == 0, "a replacement is no failure"
            assert any(event == "replaced" and "above" in detail for event, _, detail in here.store.events[1])
            assert S.NEEDS_LINK not in here.store.states(1)[4:]
            assert len(web.arrived("in hand")) == 1

    run(scenario())


def test_a_leak_beyond_the_hard_ceiling_is_killed(home: Path, web: Web) -> None:
    policy = replace(QUICK, memory_soft_mb=0, memory_hard_mb=SOFT_MB)

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            await here.link()
            here.spawn(here.sessions.measure(), "measure")
            # also while a send is under way that would take for ever
            await here.order(PHONE, "faults", {"lose_acks": [1]})
            sending = asyncio.create_task(here.channel.send(message("never answered"), _record, patient_by(60)))
            await soon(lambda: web.arrived("never answered"), 20)
            await here.order(PHONE, "leak", {"amount": 150})
            await soon(lambda: any("hard ceiling" in row[1] for row in here.store.observed[1]), 40)
            assert type(await sending).__name__ == "InDoubt"
            await here.until(S.READY, within_s=40)
            assert here.session().restarts == 1

    run(scenario())


def test_a_page_that_burns_the_processor_is_replaced(home: Path, web: Web) -> None:
    # how much of a processor it gets is the neighbours' business as well
    policy = replace(QUICK, cpu_most=0.1, cpu_for_s=6.0)

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            await here.link()
            first = here.session().pid
            here.spawn(here.sessions.measure(), "measure")
            await here.order(PHONE, "burn", {"amount": 120})
            await soon(lambda: here.session().replacements >= 1, 40, lambda: str(here.session().stats()))
            assert any("processors" in detail for event, _, detail in here.store.events[1] if event == "replaced")
            await here.until(S.READY, within_s=40)
            assert here.session().pid != first

    run(scenario())


def test_a_page_that_says_it_is_well_and_answers_no_send_is_restarted(home: Path, web: Web) -> None:
    policy = replace(QUICK, deaf_after=2)

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            await here.link()
            channel = OutcomeFeedback(here.channel, here.sessions)
            await here.order(PHONE, "faults", {"lose_acks": [1, 2, 3]})
            for number in range(2):
                outcome = await channel.send(
                    message(f"unheard {number}", chat_id=f"6012345678{number}"), _record, monotonic() + 3
                )
                assert type(outcome).__name__ == "InDoubt"
            assert "2 sends in a row were not answered" in await here.passed(S.BACKING_OFF)
            await here.order(PHONE, "faults", {"lose_acks": []})
            await here.until(S.READY, within_s=40)
            assert type(await channel.send(message("heard"), _record, patient_by(20))).__name__ == "Sent"

    run(scenario())


def test_a_quarantine_outlives_the_process_and_an_operator_can_end_it(home: Path, web: Web) -> None:
    policy = replace(QUICK, connects_an_hour=2, quarantine_s=600.0)

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            await here.link()
            here.session()._happen(events.LifeFailed("for the test"))
            await soon(lambda: here.session().restarts == 1 and here.session().page(), 40)
        async with session_env(home, web, policy) as here:
            here.store.want(1)
            here.sessions.notify()
            await here.until(S.QUARANTINED)
            assert "2 connects within an hour" in here.session().detail
            observations = len(here.store.observed[1])
            await soon(
                lambda: len(here.store.observed[1]) > observations,
                describe="an unconfirmed state is written again",
            )
            assert chromiums(home) == []
            await here.sessions.restart(1, patient_by(10))
            await here.until(S.READY, within_s=40)
            assert S.NEEDS_LINK not in here.store.states(1)

    run(scenario())


def test_a_browser_that_does_not_end_in_time_is_a_failure_of_its_session_alone(
    home: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            end = Chromium.end

            async def late(chromium: Chromium) -> None:
                await end(chromium)
                monkeypatch.undo()
                raise ChromiumFailed("processes [1] survived SIGKILL")

            monkeypatch.setattr(Chromium, "end", late)
            here.session().resources.replace("for the test")
            await soon(lambda: here.session().restarts == 1, 40)
            await here.until(S.READY, within_s=40)
            assert [state for state in here.store.states(1) if state is not S.SYNCING][-4:] == [
                S.ABSENT,
                S.BACKING_OFF,
                S.STARTING,
                S.READY,
            ]

    run(scenario())


def test_a_browser_that_survives_the_stop_of_its_session_ends_no_process(
    home: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is its profile removed while it may write into it."""

    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            end = Chromium.end

            async def survived(chromium: Chromium) -> None:
                await end(chromium)
                raise ChromiumFailed("processes [1] survived SIGKILL")

            monkeypatch.setattr(Chromium, "end", survived)
            with pytest.raises(NotNow, match="did not end"):
                await here.sessions.wipe(1, patient_by(20))
            assert (home / "sessions" / "1").exists()
            monkeypatch.undo()
            await here.until(S.READY, within_s=40)
            monkeypatch.setattr(Chromium, "end", survived)
            await here.sessions.close(patient_by(20))
            assert here.failed == [], "the service classifies nothing as its own failure"
            monkeypatch.undo()

    run(scenario())


def test_a_logout_does_not_wait_for_the_end_of_a_quarantine(home: Path, web: Web) -> None:
    policy = replace(QUICK, connects_an_hour=2, quarantine_s=600.0)

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            await here.link()
            for lives in (1, 2):
                here.session()._happen(events.LifeFailed("for the test"))
                # the default binds the number
                await soon(lambda lives=lives: here.session().restarts == lives, 40)  # type: ignore[misc]
                if lives == 1:
                    await soon(here.session().page, 40)
            await here.until(S.QUARANTINED)
            here.store.want(1, DesiredSession.LOGGED_OUT)
            here.sessions.notify()
            await here.until(S.LOGGED_OUT, within_s=60)
            assert [entry.event for entry in web.ledger.scan()][-1] == "device_unlinked", "the phone was told"
            await soon(lambda: not (home / "sessions" / "1").exists())

    run(scenario())


async def _record(token: str, link: str = "") -> None:
    """Take a token, as the dispatcher would."""
