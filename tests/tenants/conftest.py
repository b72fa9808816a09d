"""One API process with keys of two companies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.api_env import ApiEnv
from tests.support.servers import Servers


@pytest.fixture(scope="package")
def api_env(servers: Servers) -> Iterator[ApiEnv]:
    """The API over a database with companies alpha and beta."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with ApiEnv(home, url, servers.new_redis(kept=True)) as started:
        yield started.seed().start()
    servers.drop_database(name)
    shutil.rmtree(home)
