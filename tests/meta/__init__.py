"""The Meta channel, proved against real servers and the sandbox: its ledger judges, not our tables."""
