"""One installation for all cases: API, meta and sandbox."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases.env import CasesEnv
from tests.connections.conftest import accounts_settings
from tests.connections.env import INSTAGRAM, PAGE
from tests.sandbox.env import ACCESS_TOKEN
from tests.support.servers import Servers


@pytest.fixture(scope="package")
def running_env(servers: Servers) -> Iterator[CasesEnv]:
    """Processes that live as long as the folder's tests."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with CasesEnv(accounts_settings(home, url, servers.new_redis(kept=True))) as env:
        env.start()
        env.add_page("messenger", PAGE, ACCESS_TOKEN)
        env.add_page("instagram", INSTAGRAM, ACCESS_TOKEN)
        yield env
    servers.drop_database(name)
    shutil.rmtree(home)


@pytest.fixture
def env(running_env: CasesEnv) -> CasesEnv:
    """The installation, with the sandbox as at its start."""
    running_env.reset()
    return running_env
