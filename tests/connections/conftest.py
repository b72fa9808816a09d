"""One town for all of this folder's tests; each begins with the sandbox's knobs at their start."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.connections.town import APP_ID, AccountsTown
from tests.meta.conftest import town_settings
from tests.support.servers import Servers


def accounts_settings(home: Path, database_url: str, redis_url: str) -> Settings:
    """Return settings whose every provider is the sandbox, with nothing that is looked at by itself."""
    settings = town_settings(home, database_url, redis_url, meta_app_id=APP_ID, api_instances=1, connection_check_s=0)
    sandbox = settings.graph_base_url.removesuffix("/graph")
    return replace(
        settings, instagram_base_url=f"{sandbox}/instagram", public_url=f"http://127.0.0.1:{settings.port('meta')}"
    )


@pytest.fixture(scope="package")
def running_town(servers: Servers) -> Iterator[AccountsTown]:
    """Processes that live as long as the folder's tests."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with AccountsTown(accounts_settings(home, url, servers.new_redis())) as town:
        yield town.start()
    servers.drop_database(name)
    shutil.rmtree(home)


@pytest.fixture
def town(running_town: AccountsTown) -> AccountsTown:
    """The running town with the sandbox as at its start."""
    running_town.reset()
    running_town.control("POST", "tokens", {"valid": True, "expires_at": 0})
    return running_town


@pytest.fixture
def mortal_town(home: Path, database_url: str, redis_url: str) -> Iterator[AccountsTown]:
    """A town of one test's own, whose processes may be killed."""
    with AccountsTown(accounts_settings(home, database_url, redis_url)) as town:
        yield town.start()
