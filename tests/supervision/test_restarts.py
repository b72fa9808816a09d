"""The real orchestrator over children that die in every way: seen, proved dead, restarted by the law, and no other's
business."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from shared.process.slot_lock import SlotLock, read_holder
from tests.supervision.env import SupervisionEnv
from tests.support import processes
from tests.support.waiting import eventually


def test_starts_in_order_and_stops_in_reverse(env: SupervisionEnv) -> None:
    env.rows(
        {"name": "api", "after": ["db"]},
        {"name": "db"},
        {"name": "meta", "instances": 2, "instances_most": 10, "after": ["api"]},
    ).start(META_INSTANCES="2")
    env.ready("api-0", "db-0", "meta-0", "meta-1")
    started = [entry.slot for entry in env.events() if entry.event is Happened.STARTED]
    assert started == ["db-0", "api-0", "meta-0", "meta-1"]
    assert env.stop() == ExitCode.OK
    exits = [entry for entry in env.events() if entry.event is Happened.EXITED]
    assert [entry.slot for entry in exits][2:] == ["api-0", "db-0"]
    assert all(entry.details["expected"] and entry.details["code"] == 0 for entry in exits)
    assert env.events()[-1].event is Happened.STOPPED


def test_a_killed_child_is_back_at_once_and_the_others_do_not_notice(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}, {"name": "meta"}).start().ready("api-0", "meta-0")
    other, old = env.pid("api-0"), env.slot("meta-0")["incarnation"]
    env.kill("meta-0")
    exited = env.wait(Happened.EXITED, "meta-0")
    assert (exited.details["signal"], exited.details["code"], exited.details["expected"]) == (
        signal.SIGKILL,
        None,
        False,
    )
    env.wait(Happened.READY, "meta-0", after=exited.seq)
    assert env.story("meta-0")[2:] == ["exited", "slot_free", "restarting", "started", "ready"]
    free = env.happened(Happened.SLOT_FREE, "meta-0")
    assert free is not None and free.incarnation == old
    assert env.pid("api-0") == other


def test_dies_at_boot_for_ever(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}, {"name": "bad", "entry": "dies_at_boot", "intensity": 3}).start()
    env.wait(Happened.QUARANTINED, "bad-0")
    first = env.happened(Happened.EXITED, "bad-0")
    assert first is not None and first.details["code"] == ExitCode.BOOT and "no disk" in first.details["log_tail"]
    env.wait(Happened.PROBED, "bad-0", outcome="failed")
    assert env.ready("api-0").slot("bad-0")["state"] == "quarantined"


def test_dies_after_ready_for_ever(env: SupervisionEnv) -> None:
    """Having become ready resets nothing: it ends in quarantine like a process that never did."""
    env.rows({"name": "bad", "entry": "dies_after_ready", "intensity": 3}).start()
    quarantined = env.wait(Happened.QUARANTINED, "bad-0")
    assert quarantined.details["restarts"] == 4
    assert env.count(Happened.READY, "bad-0") == 4
    delays = [entry.details["delay_s"] for entry in env.events() if entry.event is Happened.RESTARTING]
    assert delays[0] == 0 and all(0 <= delay <= 0.05 * 2**index for index, delay in enumerate(delays[1:]))


def test_dies_after_a_while_and_starts_over_at_the_first_delay(env: SupervisionEnv) -> None:
    """The minute of issue B in small: lives longer than min_uptime_s let the failures decay."""
    env.rows({"name": "bad", "entry": "dies_later", "intensity": 3, "min_uptime_s": 0.2}, half_life_s=0.05).start(
        FIXTURE_LIFE_S="0.5"
    )
    env.until(lambda: env.count(Happened.EXITED, "bad-0") >= 4, "four deaths")
    restarts = [entry.details for entry in env.events() if entry.event is Happened.RESTARTING]
    assert all(restart["delay_s"] == 0 and restart["failures"] < 1.1 for restart in restarts)


def test_a_recovered_probe_ends_the_quarantine(env: SupervisionEnv) -> None:
    wrong = {"name": "bad", "entry": "dies_later", "intensity": 1, "min_uptime_s": 0.3}
    env.rows(wrong).start(FIXTURE_LIFE_S="0.1")
    env.wait(Happened.QUARANTINED, "bad-0")
    (env.home / "settings.env").write_text("")
    env.until(lambda: env.count(Happened.PROBED, "bad-0") >= 2, "a probe that fails")
    env.kill_orchestrator()
    env.start(FIXTURE_LIFE_S="1000").ready("bad-0")


def test_exit_code_zero_unasked(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "exits_zero", "intensity": 2}).start()
    env.wait(Happened.QUARANTINED, "bad-0")
    exited = env.happened(Happened.EXITED, "bad-0")
    assert exited is not None and (exited.details["code"], exited.details["expected"]) == (0, False)
    assert exited.details["last_words"] == "I thought I was done"


def test_misconfigured_is_not_restarted_until_the_settings_change(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}, {"name": "bad", "entry": "misconfigured"}).start()
    words = env.wait(Happened.MISCONFIGURED, "bad-0").details["last_words"]
    assert words == "COMPANY_ID must contain api"
    api = env.pid("api-0")
    assert env.count(Happened.STARTED, "bad-0") == 1
    (env.home / "settings.env").write_text("# corrected\nCOMPANY_ID=rapid\n")
    env.orchestrator.send_signal(signal.SIGHUP)
    env.ready("bad-0")
    assert env.count(Happened.STARTED, "bad-0") == 2
    env.until(lambda: env.pid("api-0") != api, "api is told the new COMPANY_ID")
    restarted = [entry for entry in env.events() if entry.event is Happened.EXITED and entry.slot == "api-0"]
    assert [entry.details["reason"] for entry in restarted] == ["settings changed"]


def test_ignores_sigterm(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "ignores_term", "drain_s": 0.5}).start().ready("bad-0")
    assert env.stop() == ExitCode.OK
    assert env.happened(Happened.HUNG, "bad-0", what="drain") is not None
    drained = env.happened(Happened.DRAINED, "bad-0")
    assert drained is not None and drained.details["in_time"] is False


def test_crashes_while_draining(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "dies_while_draining"}).start().ready("bad-0")
    assert env.stop() == ExitCode.OK
    exited = env.happened(Happened.EXITED, "bad-0")
    assert exited is not None and (exited.details["signal"], exited.details["expected"]) == (signal.SIGABRT, True)


def test_a_signal_from_elsewhere_is_answered_by_a_restart(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    env.kill("api-0", signal.SIGTERM)
    exited = env.wait(Happened.EXITED, "api-0")
    assert (exited.details["code"], exited.details["expected"]) == (0, False)
    env.wait(Happened.READY, "api-0", after=exited.seq)


def test_never_becomes_ready(env: SupervisionEnv) -> None:
    env.rows({"name": "late", "entry": "never_ready", "startup_s": 0.5}, {"name": "api", "after": ["late"]}).start()
    env.ready("api-0")  # its predecessor had its time
    hung = env.wait(Happened.HUNG, "late-0")
    assert hung.details["what"] == "start"
    env.wait(Happened.RESTARTING, "late-0")


def test_the_second_signal_means_now_and_leaves_nothing(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "ignores_term", "drain_s": 60.0}, stop_now_s=0.3).start().ready("bad-0")
    env.orchestrator.send_signal(signal.SIGTERM)
    env.until(lambda: env.slot("bad-0")["state"] == "draining", "draining")
    assert env.stop(within_s=5.0) == ExitCode.OK


def _contains(file: Path, text: str) -> bool:
    return text in file.read_text()


def test_the_third_signal_kills_at_once(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "ignores_term", "drain_s": 60.0}, stop_now_s=60.0).start().ready("bad-0")
    for request in (1, 2):
        env.orchestrator.send_signal(signal.SIGTERM)
        out = env.home / "logs" / "orchestrator.out.log"
        env.until(partial(_contains, out, f'"request": {request}'), f"request {request} received")
    assert env.stop(within_s=5.0) == ExitCode.OK


def test_ctrl_c_to_the_whole_terminal_group_drains_like_sigterm(env: SupervisionEnv) -> None:
    """Children have sessions of their own: a Ctrl-C reaches only the orchestrator, which then asks them in order."""
    env.rows({"name": "api"}).start().ready("api-0")
    assert env.stop(signal.SIGINT) == ExitCode.OK
    drained = env.happened(Happened.DRAINED, "api-0")
    assert drained is not None and drained.details["in_time"] is True


def test_a_slot_that_a_stranger_holds_is_never_doubled(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}, {"name": "meta"}, occupied_s=0.2)
    runtime.run_dir(env.home)
    stranger = SlotLock.take(runtime.slot_lock_file(env.home, "api-0"))
    env.start().ready("meta-0")
    env.wait(Happened.START_FAILED, "api-0")
    assert env.count(Happened.STARTED, "api-0") == 0
    stranger.close()
    env.ready("api-0")


def test_orphans_of_children_are_reaped(env: SupervisionEnv) -> None:
    env.rows({"name": "api", "entry": "forks_away"}).start().ready("api-0")
    _, daemon = (int(pid) for pid in (env.home / "helpers").read_text().split())
    processes.end([daemon])
    eventually(lambda: not Path(f"/proc/{daemon}").exists(), 10, "the orphan is reaped")


def test_the_holder_record_names_the_running_process(env: SupervisionEnv) -> None:
    env.rows({"name": "api", "port": 3000}).start().ready("api-0")
    holder = read_holder(runtime.slot_lock_file(env.home, "api-0"))
    slot = env.slot("api-0")
    assert holder is not None and holder.is_running()
    assert (holder.pid, holder.incarnation, holder.admin_port, holder.public_port) == (
        slot["pid"],
        slot["incarnation"],
        slot["admin_port"],
        slot["port"],
    )
