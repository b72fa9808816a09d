"""One installation and one application for all tests of clients, generators and examples."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.installation import KINDS, Application, Installation
from tests.conftest import running, settings_variables
from tests.support import environment
from tests.support.bulkhead import Bulkhead
from tests.support.servers import Servers


@pytest.fixture(scope="package")
def installation(servers: Servers) -> Iterator[Installation]:
    """The program in the sandbox, ready, with a key of company demo; tests use chats of their own."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    given = {
        "only": ",".join((*KINDS, "hooks", "index")),
        "database_url": url,
        "redis_url": servers.new_redis(kept=True),
    }
    # one process of each kind suffices, and starts sooner
    given |= {"api_instances": "1", "meta_instances": "1"}
    program = Bulkhead(home, settings_variables(home) | environment.as_environ(given))
    program.start().wait_ready(*KINDS)
    started = Installation(program)
    running.append(program)
    yield started
    started.client.close()
    program.close()
    running.remove(program)
    servers.drop_database(name)
    shutil.rmtree(home)


@pytest.fixture(scope="package")
def application() -> Iterator[Application]:
    """The application; its deliveries are those of all tests."""
    started = Application()
    yield started
    started.close()


@pytest.fixture(scope="package")
def openapi_file(installation: Installation) -> Iterator[Path]:
    """The OpenAPI document of the running installation, as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "openapi.json"
        document: dict[str, Any] = installation.client.get("/openapi.json")
        path.write_text(json.dumps(document), encoding="utf-8")
        yield path
