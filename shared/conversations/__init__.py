"""Conversations: who answers in a chat, the assistant or a human.

May import: the leaves of `shared`, `shared.channels`, `shared.store`, `shared.tenancy`. Promises: a state changes by
one conditional update, with its event; while a human answers, no answer of the assistant is queued. Which chats have
one, what their states are and what moves them: docs/internals/conversations.md.
"""
