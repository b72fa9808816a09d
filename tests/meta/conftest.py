"""One env for those tests that leave it running; another for each test that kills."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings, load
from tests.conftest import settings_variables
from tests.meta.env import MetaEnv
from tests.meta.seed import SECRETS
from tests.sandbox.env import Receiver, SandboxEnv
from tests.support import environment
from tests.support.servers import Servers

QUICK = {
    "in_doubt_window_s": 1,
    "webhook_repeat_s": 1,
    "meta_send_s": 1.5,
    "retry_base_meta_s": 0.2,
    "meta_instances": 1,
}


def env_settings(home: Path, database_url: str, redis_url: str, **more: Any) -> Settings:
    """Return settings of an env whose sandbox stands in for every provider."""
    variables = settings_variables(home)
    sandbox = f"http://127.0.0.1:{variables['SANDBOX_PORT']}"
    addresses = {"graph_base_url": f"{sandbox}/graph", "d360_base_url": f"{sandbox}/d360"}
    own = {"database_url": database_url, "redis_url": redis_url, **addresses, **SECRETS, **QUICK, **more}
    return load(variables | environment.as_environ(own))


@pytest.fixture(scope="package")
def running_env(servers: Servers) -> Iterator[MetaEnv]:
    """Processes that live as long as the folder's tests."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with MetaEnv(env_settings(home, url, servers.new_redis(kept=True))) as env:
        yield env.start()
    servers.drop_database(name)
    shutil.rmtree(home)


@pytest.fixture
def env(running_env: MetaEnv) -> MetaEnv:
    """The running env with the sandbox as at its start."""
    running_env.reset()
    return running_env


@pytest.fixture
def own_env(home: Path, database_url: str, redis_url: str) -> Iterator[Callable[..., MetaEnv]]:
    """Function that returns an env of the test's own, not started: `own_env(meta_send_s=3)`."""
    made: list[MetaEnv] = []

    def build(**more: Any) -> MetaEnv:
        made.append(MetaEnv(env_settings(home, database_url, redis_url, **more)))
        return made[-1]

    yield build
    for env in made:
        env.close()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnv]:
    """A sandbox in a thread, for tests that leave no fault armed in it."""
    receiver = Receiver()
    with SandboxEnv(tmp_path_factory.mktemp("sandbox"), receiver) as started:
        yield started
    receiver.close()


@pytest.fixture
def portless(home: Path, database_url: str) -> Callable[..., Settings]:
    """Function that returns settings for what runs in the test itself and listens nowhere."""
    base = {
        "BULKHEAD_HOME": str(home),
        "SECRET_ENCRYPTION_KEY": base64.b64encode(os.urandom(32)).decode(),
        "DATABASE_URL": database_url,
    }
    return lambda **more: load(base | environment.as_environ({**SECRETS, **QUICK, **more}))


@pytest.fixture
def at_sandbox(portless: Callable[..., Settings], sandbox: SandboxEnv) -> Callable[..., Settings]:
    """Function that returns settings of a channel whose provider is the sandbox."""
    addresses = {"graph_base_url": f"{sandbox.base}/graph", "d360_base_url": f"{sandbox.base}/d360"}
    return lambda **more: portless(**addresses | more)
