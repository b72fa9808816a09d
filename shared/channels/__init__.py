"""What each connection type is, as data: one row per type, and the rules that read a row.

A new channel is the code of its process kind and one row here. A connection type without a row is an error, never a
default.
"""
