"""Outbound: one message through one HTTP call, the bodies and files of messages, and what proves that one was not
sent.
"""
