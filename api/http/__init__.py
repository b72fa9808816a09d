"""What every operation shares: routing, keys, bodies, problems, and the documents that are made from the operations."""
