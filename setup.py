"""The entry files, one for each kind; everything else about the package stands in setup.cfg."""

from pathlib import Path

from setuptools import setup

setup(py_modules=["orchestrator", *sorted(entry.stem for entry in Path(__file__).parent.glob("proc_*.py"))])
