"""Faults and plans as data, and the seeded schedule made from them; pure."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Action = Literal[
    "kill",
    "kill_server",
    "stop_then_kill",
    "pause",
    "pause_server",
    "cut_database",
    "flush_redis",
    "provider",
    "page",
    "silence",
    "outsiders",
    "doors",
    "kill_with_proof",
    "power_loss",
    "relink",
    "subscriber",
    "host",
]

API: Final = ("api-0", "api-1")
META: Final = ("meta-0", "meta-1")
WEBDRIVER: Final = ("webdriver-0",)
RECORDER: Final = ("recorder-0",)
SANDBOX: Final = ("sandbox-0",)
HOOKS: Final = ("hooks-0", "hooks-1")
SUBSCRIBERS: Final = ("subscribers",)
REDIS: Final = ("redis-0",)
POSTGRES: Final = ("postgres-0",)
ORCHESTRATOR: Final = ("orchestrator",)
PROVIDER: Final = ("provider",)
PAGE: Final = ("page",)
OUTSIDERS: Final = ("outsiders",)
DOORS: Final = ("silent_door", "crowd", "endless_doubt", "late_report", "lost_report")
"""Methods of `Doors`. Each is a target of its own, so that they can run at the same time."""
MACHINE: Final = ("machine",)
PROOF: Final = ("proof",)
"""Stands for one of the senders, which is chosen when the fault is carried out; no second one may be killed meanwhile.
"""

OTHER_HOSTS: Final = ("host-2", "host-3", "host-4", "host-5")
"""Further hosts beside the installation, see `chaos.hosts`."""

SESSION_HOST: Final = ("session-host",)
"""Stands for the host on which the browser session runs when the fault is carried out."""

SENDERS: Final = frozenset({*META, *WEBDRIVER})
"""Slots that send: after the death of one, the time until its messages are resolved is measured."""

WATCHED_S: Final = 12.0
"""Seconds of uptime from which the restart policy reduces the backoff. A plan with shorter gaps would measure the
backoff of restarts, not delivery.
"""


@dataclass(frozen=True, kw_only=True)
class PlannedFault:
    """One kind of fault.

    Attributes:
        action: see `actions`. targets: candidates, of which one is chosen. gap_s: least seconds between the end of one
            fault and the next on the same target. lasts_s: range of its duration in seconds. details: for faults of the
            provider and the page, the body of the sandbox's control call.
    """

    action: Action
    targets: tuple[str, ...]
    words: str
    gap_s: float = WATCHED_S
    lasts_s: tuple[float, float] = (0.0, 0.0)
    details: Mapping[str, Any] = field(default_factory=dict)


def _provider(words: str, **details: Any) -> PlannedFault:
    return PlannedFault(action="provider", targets=PROVIDER, words=words, gap_s=0.0, details=details)


def _page(words: str, order: str, amount: float = 0.0, *, gap_s: float = 20.0) -> PlannedFault:
    return PlannedFault(
        action="page", targets=PAGE, words=words, gap_s=gap_s, details={"order": order, "amount": amount}
    )


def _doors(words: str, does: str, lasts_s: tuple[float, float] = (0.0, 0.0)) -> PlannedFault:
    return PlannedFault(action="doors", targets=(does,), words=words, gap_s=5.0, lasts_s=lasts_s)


def _subscriber(words: str, does: str, lasts_s: tuple[float, float] = (0.0, 0.0)) -> PlannedFault:
    return PlannedFault(
        action="subscriber", targets=SUBSCRIBERS, words=words, gap_s=0.5, lasts_s=lasts_s, details={"does": does}
    )


def _host(
    words: str, does: str, lasts_s: tuple[float, float], targets: tuple[str, ...] = OTHER_HOSTS, gap_s: float = 15.0
) -> PlannedFault:
    # 15 s: a host that comes back starts its processes anew
    return PlannedFault(
        action="host", targets=targets, words=words, gap_s=gap_s, lasts_s=lasts_s, details={"does": does}
    )


def _outsiders(words: str, posts: str) -> PlannedFault:
    return PlannedFault(action="outsiders", targets=OUTSIDERS, words=words, gap_s=2.0, details={"posts": posts})


FAULTS: Final[Mapping[str, PlannedFault]] = {
    # the lease is 11 s (`chaos.hosts`): the longer ones outlast it, and what judges the silence needs 12 s more
    "host_killed": _host("kill -9 of every process of a host, which starts again later", "kill", (15.0, 40.0)),
    "host_frozen": _host("a host stands still for longer than its lease, and comes back", "freeze", (30.0, 50.0)),
    "host_frozen_shortly": _host("a host stands still for less than its lease", "freeze", (1.0, 9.0)),
    "host_unplugged": _host("a host is cut off from everything", "cut database,redis,provider", (5.0, 45.0)),
    "host_without_database": _host("a host is cut off from PostgreSQL alone", "cut database", (5.0, 45.0)),
    "host_without_redis": _host("a host is cut off from Redis alone", "cut redis", (5.0, 30.0)),
    "host_without_provider": _host("a host is cut off from the provider alone", "cut provider", (5.0, 30.0)),
    "host_clock_ahead": _host("the clock of a host is set an hour ahead, and right again", "clock ahead", (15.0, 40.0)),
    "host_clock_behind": _host(
        "the clock of a host is set an hour back, and right again", "clock behind", (15.0, 40.0)
    ),
    # the lease of browsers is 21 s; 30 s: the session is to be ready when the next host vanishes
    "session_host_killed": _host("kill -9 of the browser session's host", "kill", (90.0, 99.0), SESSION_HOST, 30.0),
    "kill_api": PlannedFault(action="kill", targets=API, words="kill -9 of an API process"),
    "kill_meta": PlannedFault(action="kill", targets=META, words="kill -9 of a sender"),
    # 40 s: a browser process is ready when Chromium has loaded the page and the session has synchronised
    "kill_webdriver": PlannedFault(
        action="kill", targets=WEBDRIVER, words="kill -9 of the browser process", gap_s=40.0
    ),
    "kill_recorder": PlannedFault(action="kill", targets=RECORDER, words="kill -9 of the recorder"),
    "kill_sandbox": PlannedFault(
        action="kill", targets=SANDBOX, words="kill -9 of the provider, in the middle of sends and webhooks"
    ),
    "kill_orchestrator": PlannedFault(
        action="kill", targets=ORCHESTRATOR, words="kill -9 of the orchestrator, which is started again"
    ),
    "kill_hooks": PlannedFault(
        action="kill", targets=HOOKS, words="kill -9 of a process that serves subscribers of webhooks"
    ),
    "kill_redis": PlannedFault(action="kill_server", targets=REDIS, words="kill -9 of redis-server"),
    # 25 s: PostgreSQL replays its WAL after kill -9, and every pool reconnects after that
    "kill_postgres": PlannedFault(
        action="kill_server", targets=POSTGRES, words="kill -9 of the PostgreSQL server", gap_s=25.0
    ),
    "kill_postgres_wrapper": PlannedFault(
        action="kill", targets=POSTGRES, words="kill -9 of the process that watches PostgreSQL", gap_s=25.0
    ),
    "stop_kill_api": PlannedFault(
        action="stop_then_kill", targets=API, words="an API process stands still, then kill -9", lasts_s=(0.2, 2.0)
    ),
    "stop_kill_meta": PlannedFault(
        action="stop_then_kill", targets=META, words="a sender stands still, then kill -9", lasts_s=(0.2, 2.0)
    ),
    "pause_api": PlannedFault(
        action="pause", targets=API, words="an API process stands still for a while", lasts_s=(0.2, 2.5)
    ),
    # up to 6 s: longer than the watchdog's limit, so that the orchestrator kills some processes in the middle of their
    # sends
    "pause_meta": PlannedFault(
        action="pause",
        targets=META,
        words="a sender stands still; for longer than its watchdog allows, sometimes",
        lasts_s=(0.2, 6.0),
    ),
    "stop_kill_hooks": PlannedFault(
        action="stop_then_kill",
        targets=HOOKS,
        words="a process that serves subscribers stands still, then kill -9",
        lasts_s=(0.2, 2.0),
    ),
    # up to 6 s, as of senders
    "pause_hooks": PlannedFault(
        action="pause", targets=HOOKS, words="a process that serves subscribers stands still", lasts_s=(0.2, 6.0)
    ),
    "pause_recorder": PlannedFault(
        action="pause", targets=RECORDER, words="the recorder stands still", lasts_s=(0.2, 6.0)
    ),
    "pause_orchestrator": PlannedFault(
        action="pause", targets=ORCHESTRATOR, words="the orchestrator stands still", lasts_s=(0.2, 4.0)
    ),
    "pause_sandbox": PlannedFault(
        action="pause", targets=SANDBOX, words="the provider stands still", lasts_s=(0.2, 2.5)
    ),
    "pause_redis": PlannedFault(
        action="pause_server", targets=REDIS, words="redis-server stands still", lasts_s=(0.5, 5.0)
    ),
    "pause_postgres": PlannedFault(
        action="pause_server", targets=POSTGRES, words="all of PostgreSQL stands still", lasts_s=(0.3, 4.0)
    ),
    # nothing restarts, and the relay finds the rows of the lost hints, so that the next flush may follow at once
    "flush_redis": PlannedFault(action="flush_redis", targets=REDIS, words="FLUSHALL", gap_s=1.0),
    "cut_database_api": PlannedFault(
        action="cut_database",
        targets=API,
        words="an API process loses its database connections",
        lasts_s=(0.0, 1.0),
        gap_s=3.0,
    ),
    "cut_database_meta": PlannedFault(
        action="cut_database",
        targets=META,
        words="a sender loses its database connections",
        lasts_s=(0.0, 1.0),
        gap_s=3.0,
    ),
    "cut_database_recorder": PlannedFault(
        action="cut_database",
        targets=RECORDER,
        words="the recorder loses its database connections",
        lasts_s=(0.0, 1.0),
        gap_s=3.0,
    ),
    "cut_database_hooks": PlannedFault(
        action="cut_database",
        targets=HOOKS,
        words="a process that serves subscribers loses its database connections",
        lasts_s=(0.0, 1.0),
        gap_s=3.0,
    ),
    # 4 s: what fails is tried again after 5 s
    "subscriber_outage": _subscriber("nothing listens at a subscriber's address", "outage", lasts_s=(0.2, 4.0)),
    "subscriber_rotated": _subscriber("a subscriber gets a new secret", "rotate"),
    "subscriber_changed": _subscriber("a subscriber is changed, which ends the work for it", "change"),
    "subscriber_paused": _subscriber("a subscriber is paused for some seconds", "pause"),
    "cut_before": _provider("connections are cut before the message is taken", fault="cut_before", count=3),
    "cut_after": _provider("connections are cut after the message is taken", fault="cut_after", count=3),
    "reply_lost": _provider("messages are taken and never answered", fault="hang_after", count=2),
    "error_after_accept": _provider("messages are taken and answered 502", fault="5xx_after_accept", count=3),
    # two or three each: the fault affects a few sends, so that the next step finds a working provider
    "code_after_accept": _provider(
        "messages are taken and answered 131000", fault="5xx_after_accept", http_status=500, code=131000, count=2
    ),
    "error_before": _provider("messages are not taken and answered 500", fault="error", http_status=500, count=3),
    "throttled": _provider(
        "messages are not taken and answered 130429", fault="error", http_status=429, code=130429, count=2
    ),
    "slow_answers": _provider("answers come 1.5 s later", fault="slow", latency_ms=1500.0, count=5),
    "late_webhook": _provider("webhooks come 2 s later", fault="webhook_delay", latency_ms=2000.0, count=10),
    "double_webhook": _provider("webhooks come twice", fault="webhook_duplicate", count=10),
    "reordered_webhook": _provider("webhooks of a message come in reverse order", fault="webhook_reorder", count=10),
    "dropped_webhook": _provider("webhooks never come", fault="webhook_drop", count=3),
    # 90 s: longer than the in-doubt window, so that the status arrives after the policy's decision
    "very_late_webhook": _provider("webhooks come 90 s later", fault="webhook_delay", latency_ms=90_000.0, count=3),
    "refused_later": _provider("messages are taken, and refused by a status", fault="fail_later", count=2),
    # the account of Meta's embedded demo number: one number is silent while the webhooks of the others arrive
    "silent_number": PlannedFault(
        action="silence",
        targets=PROVIDER,
        words="no webhook of one number is posted",
        lasts_s=(3.0, 15.0),
        gap_s=20.0,
        details={"account": "100000000000003"},
    ),
    "second_installation": _outsiders("another installation's statuses name our rows", "second_installation"),
    "repeated_failure": _outsiders("the failure of a redriven attempt is reported again", "repeated_failure"),
    "other_tenant": _outsiders("another company reports our messages as failed", "other_tenant"),
    "silent_door": _doors("our app is unsubscribed from an account, and answers of its number are cut", "silent_door"),
    "crowd": _doors("more messages of a silent number are held than are read at once", "crowd"),
    "endless_doubt": _doors("each message of a chat is taken and answered 502", "endless_doubt", lasts_s=(45.0, 55.0)),
    "late_report": _doors("what is in doubt is reported 150 s later", "late_report"),
    "lost_report": _doors("what is in doubt is never reported", "lost_report"),
    # 60 s: the provider repeats after 20 s, and the other sender must not die before
    "kill_with_proof": PlannedFault(
        action="kill_with_proof",
        targets=PROOF,
        words="kill -9 of a sender with webhooks in hand, which are posted again 20 s later",
        gap_s=60.0,
    ),
    # 60 s: PostgreSQL replays its WAL and every process starts anew
    "power_loss": PlannedFault(
        action="power_loss",
        targets=MACHINE,
        words="loss of power with answers under way: another boot, and in-flight journals as before the sends",
        lasts_s=(0.5, 2.0),
        gap_s=60.0,
    ),
    # the same target as the page's other faults, none of which may affect a page that is being linked
    "relink": PlannedFault(
        action="relink",
        targets=PAGE,
        words="answers to sends are lost, and the session is logged out and linked again",
        gap_s=30.0,
        lasts_s=(2.0, 4.0),
    ),
    "page_reload": _page("the page is loaded again", "reload"),
    "page_error": _page("a script of the page fails", "script_error"),
    "page_hang": _page("the page's script hangs", "hang", 5.0),
}
"""Every kind of fault."""

_NEVER_CERTAIN: Final = frozenset({"very_late_webhook", "dropped_webhook", "refused_later", "code_after_accept"})
"""Faults with plans of their own. The policy `auto` treats a status that is missing for longer than the window as
evidence, a refusal needs a redrive, and a message that was accepted but answered with an error code is sent again by
design.
"""
_PROVIDER: Final[Mapping[str, float]] = {
    name: 1.0 for name, fault in FAULTS.items() if fault.action == "provider" and name not in _NEVER_CERTAIN
} | {
    # seldom: a throttled number waits as the provider requests, and the plan would measure that wait
    "throttled": 0.3,
    # seldom: each occupies an in-flight slot until the call's time limit
    "reply_lost": 0.5,
}
_OUTSIDERS: Final[Mapping[str, float]] = {
    "second_installation": 1.0,
    "repeated_failure": 1.0,
    "other_tenant": 1.0,
    # causes the redriven failures that `repeated_failure` needs
    "refused_later": 1.0,
    "silent_number": 0.3,
}
_SELDOM: Final = 0.035
"""Weight of a process's or server's fault in a plan of many faults: a restart costs about a second of CPU, a cut
connection almost none.
"""
_DOORS: Final[Mapping[str, float]] = {
    "silent_door": 1.0,
    "endless_doubt": 1.0,
    "late_report": 1.0,
    "lost_report": 1.0,
    "kill_with_proof": 1.0,
}
_STORAGE: Final[Mapping[str, float]] = {
    "kill_redis": 1.0,
    "pause_redis": 1.0,
    "flush_redis": 1.0,
    "kill_postgres": 1.0,
    "kill_postgres_wrapper": 0.5,
    "pause_postgres": 1.0,
    "cut_database_api": 1.0,
    "cut_database_meta": 1.0,
    "cut_database_recorder": 1.0,
}
_PROCESSES: Final[Mapping[str, float]] = {
    "kill_api": 1.0,
    "kill_meta": 2.0,
    "kill_webdriver": 1.0,
    "kill_recorder": 1.0,
    "kill_sandbox": 0.7,
    "kill_orchestrator": 0.7,
    "stop_kill_api": 0.7,
    "stop_kill_meta": 1.0,
    "pause_api": 0.7,
    "pause_meta": 1.0,
    "pause_recorder": 0.7,
    "pause_orchestrator": 0.5,
    "pause_sandbox": 0.5,
}
_HOOKS: Final[Mapping[str, float]] = {
    "kill_hooks": 3.0,
    "stop_kill_hooks": 1.0,
    "pause_hooks": 1.0,
    "cut_database_hooks": 1.0,
    "subscriber_outage": 1.0,
    "subscriber_rotated": 0.3,
    "subscriber_changed": 0.5,
    "subscriber_paused": 0.3,
}
_PAGES: Final[Mapping[str, float]] = {"page_reload": 1.0, "page_error": 0.5, "page_hang": 0.5}

_HOSTS: Final[Mapping[str, float]] = {
    "host_killed": 1.0,
    "host_frozen": 2.0,
    "host_frozen_shortly": 1.0,
    "host_unplugged": 1.5,
    "host_without_database": 1.5,
    "host_without_redis": 0.7,
    "host_without_provider": 0.7,
}
_CLOCKS: Final = frozenset({"host_clock_ahead", "host_clock_behind"})
"""Faults that need libfaketime."""

PLANS: Final[Mapping[str, Mapping[str, float]]] = {
    "everything": {**_PROCESSES, **_STORAGE, **_PROVIDER, **_PAGES},
    "many": {**_PROVIDER, **{name: weight * _SELDOM for name, weight in {**_PROCESSES, **_STORAGE}.items()}},
    "processes": _PROCESSES,
    "storage": _STORAGE,
    "provider": _PROVIDER,
    "senders": {"kill_meta": 1.0, "stop_kill_meta": 0.5, "pause_meta": 0.5, "kill_webdriver": 1.0},
    "recovery": {"kill_meta": 1.0},
    "browser": {"kill_webdriver": 1.0, **_PAGES},
    "outsiders": {
        **_OUTSIDERS,
        "cut_after": 0.5,
        "error_after_accept": 0.5,
        "code_after_accept": 0.5,
        "double_webhook": 0.5,
        "kill_meta": 0.3,
    },
    "tenants": {"other_tenant": 1.0},
    "adverse": {**_PROCESSES, **_STORAGE, **_PROVIDER, **_OUTSIDERS, **_HOOKS},
    "late": {"very_late_webhook": 1.0, "dropped_webhook": 1.0, "cut_after": 1.0, "reply_lost": 0.5, "kill_meta": 0.5},
    "reboot": {"power_loss": 1.0},
    "doors": {**_DOORS, "cut_after": 0.2, "error_after_accept": 0.1},
    "crowd": {"crowd": 1.0, "lost_report": 2.0, "cut_after": 0.5},
    "relink": {"relink": 1.0},
    "hooks": {
        **_HOOKS,
        **{name: 0.3 * weight for name, weight in {**_PROCESSES, **_STORAGE}.items() if name != "kill_webdriver"},
    },
    "all": {
        **{name: weight * _SELDOM for name, weight in {**_PROCESSES, **_STORAGE, **_HOOKS}.items()},
        **_PROVIDER,
        **{name: weight * _SELDOM for name, weight in {**_OUTSIDERS, **_DOORS}.items()},
        # few, since each lasts long or stays, and would prolong the settling
        "crowd": 0.01,
        "power_loss": 0.01,
        "refused_later": 1.0,
        "code_after_accept": 1.0,
    },
    # with --hosts: whole hosts vanish and come back, while the provider misbehaves on all of them
    "hosts": {**_HOSTS, "cut_after": 0.5, "error_after_accept": 0.3},
    "clocks": dict.fromkeys(_CLOCKS, 1.0),
    # killed and not frozen: on one machine, a frozen browser keeps the profile that the other host needs
    "session-hosts": {"session_host_killed": 1.0},
    # one fault alone, for figures
    **{name.replace("_", "-"): {name: 1.0} for name in _HOSTS},
    "calm": {},
}
"""Every plan, with the weight of each of its faults. Faults of processes that the installation does not run are
skipped.
"""

SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    # few attempts: doubts count as attempts, which must be exhausted within the fault
    "doors": {"SEND_ATTEMPTS": "3", "WEBHOOK_REPEAT_S": "30"},
    "adverse": {"HOOKS_INSTANCES": "2"},
    "all": {"WEBHOOK_REPEAT_S": "30", "HOOKS_INSTANCES": "2"},
    "hooks": {"HOOKS_INSTANCES": "2"},
    "hosts": {"WEBHOOK_REPEAT_S": "10"},
}
"""Settings that a plan needs in an own installation."""

WITH_CLOCKS: Final = frozenset(name for name, weights in PLANS.items() if set(weights) & _CLOCKS)
"""Plans in which the clocks of further hosts are set wrong."""

WITH_SUBSCRIBERS: Final = frozenset(name for name, weights in PLANS.items() if set(weights) & set(_HOOKS))
"""Plans with subscribers of webhooks."""

AT_PROVIDER: Final = frozenset(name for name, fault in FAULTS.items() if fault.action == "provider")
"""Faults that the provider's ledger counts by each affected send and webhook."""


@dataclass(frozen=True, kw_only=True)
class PlanStep:
    """One fault of a schedule: `at_s` after the start, for `lasts_s`."""

    at_s: float
    fault: str
    target: str
    lasts_s: float


def schedule(plan: str, *, faults: int, rate: float, seed: int, targets: Collection[str]) -> list[PlanStep]:
    """Return `faults` steps of a plan in order of time; the same arguments give the same steps.

    Args:
        rate: faults a second, as long as a target is available. targets: those of the installation.
    Raises:
        KeyError: no plan has this name.
    """
    dice = random.Random(seed)  # noqa: S311 - dice, not secrets
    weights = {name: weight for name, weight in PLANS[plan].items() if set(FAULTS[name].targets) & set(targets)}
    free_at: dict[str, float] = {}
    steps: list[PlanStep] = []
    at_s = 0.0
    while weights and len(steps) < faults:
        at_s += dice.expovariate(rate)
        # a target is available at first, and again after the fault's gap since the end of its last fault
        able = {
            name: [
                target
                for target in FAULTS[name].targets
                if target in targets and free_at.get(target, 0.0) + FAULTS[name].gap_s * (target in free_at) <= at_s
            ]
            for name in weights
        }
        names = [name for name, hit in able.items() if hit]
        # no target is available; the next attempt is later in time, so that the loop ends
        if not names:
            continue
        (name,) = dice.choices(names, [weights[name] for name in names])
        target = dice.choice(able[name])
        step = PlanStep(
            at_s=round(at_s, 3), fault=name, target=target, lasts_s=round(dice.uniform(*FAULTS[name].lasts_s), 3)
        )
        # by plan, not by events: the schedule must depend only on its arguments
        free_at[target] = step.at_s + step.lasts_s
        steps.append(step)
    return steps
