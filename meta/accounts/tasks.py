"""Every task that this kind does, by name. Which of them may be begun again after a death is said where they are asked
for (`api`).
"""

from __future__ import annotations

from collections.abc import Mapping

from meta.accounts.calls import Calls
from meta.accounts.health import OPERATION, Health
from meta.accounts.registry import Accounts
from meta.accounts.setup import Setup
from meta.accounts.signup import Signup
from meta.accounts.templates import Templates
from meta.graph import Graph
from shared.process.tasks import Handler
from shared.secrets import Vault
from shared.settings import Settings
from shared.store.store import Store


def handlers(
    store: Store, accounts: Accounts, graph: Graph, *, vault: Vault, settings: Settings, kind: str
) -> tuple[Mapping[str, Handler], Health]:
    """Return the handlers, and what looks at connections by itself."""
    calls = Calls(graph)
    health = Health(store, accounts, calls, settings, kind=kind)
    signup = Signup(store, accounts, calls, health, vault=vault, settings=settings)
    setup = Setup(store, accounts, calls, health, settings)
    listed = Templates(store, calls, health)
    return {
        OPERATION: health.test,
        "signup": signup.sign_up,
        "register": signup.register,
        "deregister": signup.deregister,
        "set_webhook": setup.set_webhook,
        "profile": setup.profile,
        "sync_templates": listed.sync,
        "create_template": listed.create,
        "delete_template": listed.delete,
    }, health
