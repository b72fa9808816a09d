"""Kind `hooks`: the real process, a real database and real receivers."""
