"""Kind `index`: real files, real processes that read them, a real database."""
