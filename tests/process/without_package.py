"""An entry file in a process in which one package cannot be imported: `without_package PACKAGE ENTRY`."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    package, entry = sys.argv[1:]
    # Python's own mark of a module that is not there, for `import` and for `find_spec`.
    sys.modules[package] = None  # type: ignore[assignment]
    sys.argv = [entry]
    runpy.run_path(entry, run_name="__main__")
