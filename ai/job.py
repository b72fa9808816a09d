"""The RQ job of this kind, for a stock `rq worker ai`."""

from shared.queues.stock_rq import leave_to_owner as deliver

__all__ = ["deliver"]
