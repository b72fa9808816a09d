"""The house's law: `rules.py` says it as data, `checks.py` reads the code against it, and each check is proven to fail
on a bad tree."""
