"""Every fail point of kind `hooks` once: nothing is lost, and each chat's events come in order."""

from __future__ import annotations

from pathlib import Path

from shared.fail_points import LOG_NAME
from shared.process import runtime
from tests.hooks.env import HooksEnv
from tests.hooks.test_delivery import CHATS, in_order
from tests.store.env import StoreEnv
from tests.support.waiting import eventually

OF_HOOKS = {"hook.leased": 1, "hook.posting": 5, "hook.answered": 9, "hook.settling": 1, "hook.settled": 2}
"""The points, and at which visit of a life each goes off."""


def test_every_fail_point_of_the_kind_once(home: Path, env: StoreEnv) -> None:
    points = ",".join(f"hooks:{name}=kill@{visit}" for name, visit in OF_HOOKS.items())
    hooks = HooksEnv(home, env, chaos="on", crash_points=points)
    try:
        # an event fails at its first delivery, so that rows of failures are written too
        failed: set[str] = set()

        def answer(delivery: object, _: object) -> int:
            text = receiver.texts()[-1]
            if text.endswith(" 3") and text not in failed:
                failed.add(text)
                return 503
            return 200

        receiver = hooks.receiver(answer)
        hook = hooks.subscribe(receiver.url)
        hooks.receive(*[(chat, str(number)) for number in range(10) for chat in CHATS])
        hooks.entry.start()
        record = runtime.run_dir(home) / LOG_NAME
        for death in range(1, len(OF_HOOKS) + 1):
            eventually(lambda: hooks.entry.process.poll() is not None, 40.0, f"death {death}")
            hooks.restart(ready=False)
        eventually(lambda: len(set(receiver.texts())) == 50, 40.0, lambda: f"all: {len(set(receiver.texts()))}")
        eventually(lambda: not hooks.waiting(hook), 30.0, "nothing waits")
        assert set(record.read_text().split()) == {f"hooks:{name}" for name in OF_HOOKS}
        in_order(receiver.texts(), CHATS, 10)
    finally:
        hooks.close()
