"""Retrieval: pure rules, and searches in a real database."""
