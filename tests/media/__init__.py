"""Files: storage, limits, kinds and the fetch."""
