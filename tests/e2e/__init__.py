"""The whole system, as a newcomer starts it; what truly arrived is judged by the sandbox's ledger."""
