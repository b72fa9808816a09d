"""Composing messages: whatever wants to send (the API today, others later) hands a draft to a `Composer`, which makes
one row of it or refuses.

May import: leaves, `shared.channels`, `shared.store`, `shared.media`, and acceptance from `shared.delivery`. Promises:
nothing is accepted that the channel is known to refuse; what is accepted is accepted once, also when the answer to the
commit was lost; refusals are `Refused`.
"""
