"""Retrieval: the passages of a company's documents that answer a question, found by words and by meaning."""
