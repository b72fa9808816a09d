"""What an assistant can do beside talking: tools with typed arguments, and how each has its effect once."""
