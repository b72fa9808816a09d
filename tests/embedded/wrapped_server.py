"""Runs a bad server under the real wrapper, with limits short enough for a test: `python -m
tests.embedded.wrapped_server PROGRAM [LIMIT=SECONDS …]`.

The server is ready when the file `ready` is in BULKHEAD_HOME, not ready yet while `not_yet` is there, else silent.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import replace

from embedded.server import ProbeResult, Server, Wrapper, WrapperLimits
from shared import logs
from shared.process.supervised import Supervised
from shared.settings import load, load_child


def main() -> int:
    program, *limits = sys.argv[1:]
    settings, identity = load(), replace(load_child(), process_name="redis")
    logs.configure(level="debug", kind="redis")

    def probe() -> ProbeResult:
        if settings.path("ready").exists():
            return ProbeResult.READY
        return ProbeResult.NOT_YET if settings.path("not_yet").exists() else ProbeResult.SILENT

    server = Server(
        command=[sys.executable, "-c", program],
        environ={"BULKHEAD_HOME": str(settings.bulkhead_home)},
        account=None,
        probe=probe,
        stop=signal.SIGINT,
        now=signal.SIGQUIT,
        orphaned=signal.SIGKILL,
    )
    chosen = {name: float(value) for name, value in (limit.split("=") for limit in limits)}
    silent_probes = int(chosen.pop("silent_probes", 120))
    line = Supervised.from_environment(identity, settings.bulkhead_home)
    try:
        return Wrapper(server, line, WrapperLimits(**({"drain_s": 10.0} | chosen), silent_probes=silent_probes)).run()
    finally:
        line.close()


if __name__ == "__main__":
    sys.exit(main())
