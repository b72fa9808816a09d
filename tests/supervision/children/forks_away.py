"""Starts helpers: one that leaves the session, one that forks twice and clears its environment, and reports their
pids."""

import os
import subprocess
import sys
from pathlib import Path

from tests.supervision.children.childhood import Life

life = Life()
sleeper = [sys.executable, "-c", "import time; time.sleep(1000)"]
away = subprocess.Popen(sleeper, start_new_session=True, pass_fds=[life.line.lock_fd])
twice = """
import os, subprocess, sys
helper = subprocess.Popen(sys.argv[1:], start_new_session=True, env={}, stdout=subprocess.DEVNULL)
print(helper.pid, flush=True)
os._exit(0)
"""
daemon = int(
    subprocess.run(
        [sys.executable, "-c", twice, *sleeper], stdout=subprocess.PIPE, check=True, start_new_session=True
    ).stdout
)
Path(os.environ["BULKHEAD_HOME"], "helpers").write_text(f"{away.pid} {daemon}")
life.line.ready()
life.run()
life.leave()
