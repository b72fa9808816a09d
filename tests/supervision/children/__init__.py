"""Children for tests of the orchestrator: a good one, and each bad one that issue B names. Run by path, as any entry
file is."""
