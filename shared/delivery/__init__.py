"""The life of one outbound message: accept -> hint -> claim -> send -> record -> retry | dead letter; reclaim and
reconcile after a death.

May import: `shared.queues`, `shared.store`, `shared.process` and the leaves. Promises: accepted means committed; one
incarnation sends a row; a later write of another one is refused; an outcome that is not known is in doubt until it is
found out or a policy decides.
"""
