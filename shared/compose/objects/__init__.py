"""Objects that are sent as the provider spells them, each with its one table of rules, from the provider's own
documents.

The tables are used before a message is accepted and nowhere else. The provider adds fields and kinds: what a table
does not name passes.
"""
