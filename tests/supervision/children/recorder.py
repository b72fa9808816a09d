"""Reports which kinds are desired: what the file `desired-by-fixture` in the home holds, looked at again when notified
or often."""

import os
from pathlib import Path

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
wish = Path(os.environ["BULKHEAD_HOME"], "desired-by-fixture")
said: list[list[str]] = []


def look() -> bool:
    now = wish.read_text().split() if wish.exists() else None
    if now is not None and said[-1:] != [now]:
        life.line.desired(now)
        said.append(now)
    return False


life.run(until=look)
life.leave()
