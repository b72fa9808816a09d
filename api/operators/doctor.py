"""`bulkhead doctor` for the control room: the orchestrator runs the command itself, with the settings that only it has,
and this asks for it and for what it found.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.operations import Operation
from api.operators.orchestrator import ask_orchestrator
from shared.process.service import Child

_PATH: Final = "/api/v2/installation/doctor"


class DoctorOperations:
    """The operations on checks of the installation."""

    def __init__(self, child: Child) -> None:
        self._home, self._host = child.settings.bulkhead_home, child.settings.host

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="getDoctor",
                method="GET",
                path=_PATH,
                # findings name addresses, paths and settings
                scope="operate",
                owner="installation",
                group="Processes",
                summary="What `bulkhead doctor` last found on this host",
                handler=self.show,
                answers={200: ("The last run, with its checks.", "Doctor")},
                problems=("orchestrator_unavailable",),
            ),
            Operation(
                operation_id="runDoctor",
                method="POST",
                path=_PATH,
                scope="operate",
                owner="installation",
                group="Processes",
                summary="Run `bulkhead doctor` on this host: machine, settings, servers, keys, webhooks",
                handler=self.run,
                answers={202: ("It runs; ask again until its state is `done`.", "Doctor")},
                problems=("orchestrator_unavailable",),
                act="installation.doctor",
            ),
        ]

    async def show(self, _: Request) -> Response:
        """Answer with the last run."""
        return JSONResponse(await self._asked("doctor"), headers={"Cache-Control": "no-store"})

    async def run(self, _: Request) -> Response:
        """Start a run, unless one is under way."""
        return JSONResponse(await self._asked("run-doctor"), status_code=202)

    async def _asked(self, command: str) -> dict[str, Any]:
        answer = await ask_orchestrator(self._home, {"command": command})
        return {"host": self._host, **answer["doctor"]}
