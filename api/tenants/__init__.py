"""Keys of API clients, their limits, and the audit."""
