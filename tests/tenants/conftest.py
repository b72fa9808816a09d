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


@pytest.fixture
def second(api_env: ApiEnv, redis_url: str) -> Iterator[ApiEnv]:
    """Another process of the API over the same database: on a host of its own, to which the first one's folder of files
    is mounted.
    """
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    (home / "media").symlink_to(api_env.entry.home / "media")
    with ApiEnv(home, api_env.database_url, redis_url, bulkhead_host="second") as started:
        yield started.start()
    shutil.rmtree(home)
