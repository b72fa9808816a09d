"""What comes in, on every channel: journalled first, then processed, one poisonous event stopping no other.

May import: the leaves of `shared`, `shared.store`, `shared.process`, `shared.conversations`. Promises: a raw event that
was journalled is processed once, also when the process is killed in between; one that cannot be processed is finished
with the reason, and its raw body stays. Knows no channel.
"""
