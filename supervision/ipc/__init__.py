"""Sockets, signals and the service manager: how the orchestrator communicates."""
