"""One run of `bulkhead chaos`: an installation, the load, the faults, the result."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from chaos import report
from chaos.calls import Calls
from chaos.hosts import HOST_SETTINGS, Hosts
from chaos.installation import ChaosInstallation, InstallationUnusable, NeverHappened, free_ports
from chaos.load import ChaosLoad, ClientWronged
from chaos.pages import link
from chaos.plans import (
    DOORS,
    FAULTS,
    MACHINE,
    ORCHESTRATOR,
    OTHER_HOSTS,
    OUTSIDERS,
    PAGE,
    PLANS,
    PROOF,
    PROVIDER,
    SETTINGS,
    SUBSCRIBERS,
    WITH_CLOCKS,
    WITH_SUBSCRIBERS,
    PlanStep,
    schedule,
)
from chaos.run import Run, new_mark
from chaos.screen import Screen
from chaos.subscribers import Subscribers
from chaos.tenants import prepare
from shared.fail_points import FAIL_POINTS
from shared.process.exit_codes import ExitCode

WITHOUT_BROWSER: Final = "postgres,redis,recorder,api,meta,sandbox,hooks"
_USUAL_SLOTS: Final = (
    "api-0",
    "api-1",
    "meta-0",
    "meta-1",
    "recorder-0",
    "sandbox-0",
    "redis-0",
    "postgres-0",
    "webdriver-0",
    "hooks-0",
    "hooks-1",
)
_UNCLEAN: Final = 1
"""Exit code of a run that broke a guarantee, did not settle, or could not be carried out."""
OWN_INSTALLATION: Final[Mapping[str, str]] = {
    "CHAOS": "on",
    # delivery is tested: no message may become a dead letter by accumulated faults, or wait for a rate limit
    "SEND_ATTEMPTS": "50",
    "META_MESSAGES_PER_SECOND": "0",
    # the sandbox repeats a webhook whose connection broke within a second
    "WEBHOOK_REPEAT_S": "5",
    # no rotation during a run: the logs are needed to explain failures
    "LOG_MAX_MB": "200",
    # the subscribers of webhooks listen on loopback
    "HOOKS_PRIVATE": "on",
}
"""Settings of an installation that we start, besides its ports."""


def main(asked: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Execute a run and return the exit code: 0 when no guarantee was broken and every message reached a final
    state.

    Args:
        asked: what the command line said, checked. environ: the process environment.
    """
    given = SimpleNamespace(**asked)
    if given.show_plan:
        print(
            json.dumps(
                [asdict(step) | {"words": FAULTS[step.fault].words} for step in _steps(given, _USUAL_SLOTS)], indent=2
            )
        )
        return ExitCode.OK
    screen = Screen(sys.stderr)
    try:
        return asyncio.run(_interruptible(_run(given, environ, screen)))
    except (InstallationUnusable, NeverHappened, ClientWronged) as problem:
        screen.done()
        print(problem, file=sys.stderr)
        return _UNCLEAN


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Await a run; SIGTERM and Ctrl-C cancel it, so that our installation is stopped."""
    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        # cancellation instead of KeyboardInterrupt, which would skip the awaits that stop our installation
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        # the shell's convention for a program that a signal ended
        return 128 + signal.SIGINT


async def _run(given: SimpleNamespace, environ: Mapping[str, str], screen: Screen) -> int:
    # a short prefix: the home contains socket files, and a socket's path has at most 107 bytes
    home = Path(given.home).absolute() if given.home else Path(tempfile.mkdtemp(prefix="bh-"))
    # a running installation is addressed with the caller's settings, as by any operator's command; one of our own
    # inherits no setting by accident
    variables = environ if given.home else _variables(given)
    async with Calls() as calls:
        installation = ChaosInstallation(home, variables, environ, calls)
        hosts: Hosts | None = None
        try:
            if given.home:
                await installation.join()
            else:
                screen.say(f"starting an installation in {home}")
                await installation.start()
            if given.hosts > 1 and not given.home:
                hosts = Hosts(
                    installation,
                    given.hosts,
                    environ,
                    calls,
                    browser=given.browser,
                    namespaces=given.namespaces,
                    wrong_clocks=given.plan in WITH_CLOCKS,
                )
                screen.say(f"starting {given.hosts - 1} further hosts")
                await hosts.start()
            clean = await _break(given, installation, screen, hosts)
        finally:
            if hosts is not None:
                await hosts.stop()
            await installation.stop()
            if not given.home and not given.keep:
                # a file that a dying process still writes must not fail a clean run
                shutil.rmtree(home, ignore_errors=True)
    return ExitCode.OK if clean else _UNCLEAN


async def _break(given: SimpleNamespace, installation: ChaosInstallation, screen: Screen, hosts: Hosts | None) -> bool:
    if given.browser:
        await link(installation)
    mark = new_mark()
    connections = (0, 1, 2, 3) if given.browser else (0, 2, 3)
    # outsiders need an attacking company, and redriven messages; subscribers a second company, whose events they must
    # not get
    varied = given.varied or any(
        FAULTS[name].action in ("outsiders", "doors", "subscriber") for name in PLANS[given.plan]
    )
    load = ChaosLoad(
        installation,
        mark=mark,
        rate=given.load,
        chats=given.chats,
        # phone index 1 is the browser session of the demo company
        phone_indexes=connections,
        company=installation.settings.company_id,
        tenants=await prepare(installation) if varied else (),
        varied=varied,
        seed=given.seed,
    )
    subscribers = None
    if given.plan in WITH_SUBSCRIBERS:
        own = installation.settings.company_id
        others = [company for company in load.companies if company != own]
        subscribers = Subscribers(installation, [own, *others], given.seed)
    try:
        if subscribers is not None:
            screen.say("subscribing to webhooks")
            await subscribers.subscribe()
        # after the subscriptions: their kind runs only since then
        steps = _steps(
            given, [*installation.slots(), *(hosts.names if hosts else ())], orchestrator=installation.is_ours
        )
        run = Run(
            installation,
            load,
            steps,
            mark=mark,
            subscribers=subscribers,
            hosts=hosts,
            seed=given.seed,
            settle_s=given.settle,
            show=screen.show,
        )
        outcome = await run.run()
    finally:
        if subscribers is not None:
            await subscribers.close()
    screen.done()
    print(report.table(outcome))
    if given.report:
        about = {
            "plan": given.plan,
            "seed": given.seed,
            "rate": given.rate,
            "load": given.load,
            "chats": given.chats,
            "browser": given.browser,
            "varied": varied,
            "policy": given.policy,
            "hosts": given.hosts,
            "namespaces": given.namespaces,
        }
        Path(given.report).write_text(json.dumps(report.as_json(outcome, **about), indent=2) + "\n")
    return outcome.is_clean and outcome.settled


def _steps(given: SimpleNamespace, slots: Sequence[str], *, orchestrator: bool = True) -> list[PlanStep]:
    # without load on the session, its faults would test nothing and cost CPU
    slots = [*slots, *(OTHER_HOSTS[: given.hosts - 1] if given.show_plan else ())]
    slots = [slot for slot in slots if given.browser or not slot.startswith("webdriver")]
    ours = (*ORCHESTRATOR, *MACHINE) if orchestrator else ()
    targets = [*slots, *PROVIDER, *ours, *(PAGE if given.browser else ()), *OUTSIDERS, *DOORS, *PROOF, *SUBSCRIBERS]
    return schedule(given.plan, faults=given.faults, rate=given.rate, seed=given.seed, targets=targets)


def _variables(given: SimpleNamespace) -> dict[str, str]:
    return {
        **OWN_INSTALLATION,
        **SETTINGS.get(given.plan, {}),
        **({**HOST_SETTINGS, "BULKHEAD_HOST": "host-1"} if given.hosts > 1 else {}),
        **free_ports(),
        # with further hosts, the browser session runs on those: the first one, which has the servers, stays
        "ONLY": "" if given.browser and given.hosts == 1 else WITHOUT_BROWSER,
        "CRASH_POINTS": armed(given.crash_points),
        "IN_DOUBT_POLICY": given.policy,
    }


def armed(text: str) -> str:
    """Return the value of CRASH_POINTS: the text, or every point with the given probability."""
    try:
        probability = float(text)
    except ValueError:
        return text
    return ",".join(f"*:{name}=kill@{probability:f}" for name in FAIL_POINTS)
