"""What an address of PostgreSQL says, read by libpq's own rules."""

from __future__ import annotations

import psycopg2
from psycopg2 import extensions


def options_of(address: str) -> str:
    """Return the session settings (`options`) that an address names, as libpq reads it; empty: none."""
    try:
        return str(extensions.parse_dsn(address).get("options", "")) if address else ""
    # connecting reports what is wrong with it
    except psycopg2.Error:
        return ""


def parts_of(address: str) -> dict[str, str]:
    """Return an address's parts (`host`, `user`, `password`, `dbname`, …). Raises `ValueError` when it is none."""
    try:
        return {name: str(value) for name, value in extensions.parse_dsn(address).items()}
    except psycopg2.Error as error:
        raise ValueError(str(error).strip()) from error
