"""The audit: each act of a key that changes something is an event, written in the transaction of the change.

An event says which key did what, from where, to what, and what was so before and after; never a secret, and never a
message's text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from shared.store import audit
from shared.store.pool import Transaction
from shared.tenancy.principals import Principal

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(kw_only=True, slots=True)
class Act:
    """One request that changes something, until its event is written.

    Attributes:
        name: what is done, for example `connections.pause`. operation: method and path template. address: of the
            client. request_id: also in the log lines of the request. company_id: whose things are changed, None: the
            installation's. subject: what is changed, by name.
        before, after: the changed values, without secrets. is_settled: whether a transaction wrote the event, or had
            nothing to change.
    """

    name: str
    operation: str
    principal: Principal
    address: str
    request_id: str
    company_id: str | None
    subject: dict[str, str]
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    is_settled: bool = field(default=False, init=False)

    def write(self, transaction: Transaction) -> None:
        """Write the event; it is there if the transaction commits."""
        audit.write(
            transaction,
            name=self.name,
            company_id=self.company_id,
            facts={
                "operation": self.operation,
                "key": key_facts(self.principal),
                "address": self.address,
                "requestId": self.request_id,
                "subject": self.subject,
                "before": self.before,
                "after": self.after,
            },
        )
        self.is_settled = True


def key_facts(principal: Principal) -> dict[str, Any]:
    """Return what an event says of the key that acted."""
    return {
        "id": None if principal.key_id is None else str(principal.key_id),
        "name": principal.name,
        "companyId": principal.company_id,
    }


def recorded(
    act: Act | None,
    change: Callable[Concatenate[Transaction, _P], _T],
    *,
    after: Callable[[_T], Mapping[str, Any]] | None = None,
) -> Callable[Concatenate[Transaction, _P], _T]:
    """Return `change`, followed by the act's event in the same transaction.

    Args:
        act: None: the request is not audited. change: returns None, False or an empty list when it changes nothing;
            then no event is written. after: makes `act.after` of what the change returned.
    """

    def run(transaction: Transaction, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        done = change(transaction, *args, **kwargs)
        if act is not None:
            if done:
                act.after = after(done) if after else act.after
                act.write(transaction)
            act.is_settled = True
        return done

    return run
