"""Connections from outside: the API, the meta process and the sandbox, each a real process."""
