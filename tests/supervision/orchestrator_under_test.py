"""The real orchestrator over fixture kinds: the same program as `orchestrator.py`, with rows and policy from two
variables."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.kinds import ProcessKind, Variable
from shared.settings import Settings
from supervision.commands.context import Context
from supervision.commands.entry import main
from supervision.decisions.restart_policy import Policy
from tests.supervision import wall_clock


class NoEmbeddedServers:
    """Fixture children need no servers."""

    def database_url(self, settings: Settings) -> str:
        """Never asked: DATABASE_URL is set."""
        raise AssertionError

    def is_prepared(self, settings: Settings) -> bool:
        """Nothing has to be made."""
        return True

    def redis_url(self, settings: Settings) -> str:
        """Never asked: REDIS_URL is set."""
        raise AssertionError

    def postgres_programs(self) -> Path | None:
        """None are needed."""
        return None


def fixture_rows() -> list[ProcessKind]:
    """Return the registry that the test wrote into FIXTURE_ROWS."""
    make: Callable[..., ProcessKind] = ProcessKind
    described: list[dict[str, Any]] = json.loads(os.environ["FIXTURE_ROWS"])
    # what a test says to its children: each kind may see it
    seen = {
        "settings": ("company_id",),
        "variables": tuple(
            Variable(name=name, default="", purpose="of a test") for name in os.environ if name.startswith("FIXTURE_")
        ),
    }
    return [
        make(**{name: tuple(value) if isinstance(value, list) else value for name, value in (seen | row).items()})
        for row in described
    ]


if __name__ == "__main__":
    wall_clock.follow()
    context = Context(
        environ=os.environ,
        rows=fixture_rows(),
        entries=Path(__file__).with_name("children"),
        program=f"../{Path(__file__).name}",
        embedded=NoEmbeddedServers(),
        policy=Policy(**json.loads(os.environ["FIXTURE_POLICY"])),
        use_cgroups=not os.environ.get("FIXTURE_WALK_ONLY"),
    )
    sys.exit(main(sys.argv[1:], context))
