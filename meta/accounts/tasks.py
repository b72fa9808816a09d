"""Every task that this kind does, by name. Whether one may be begun again after the death of its process is set where
it is requested (`api`).
"""

from __future__ import annotations

from collections.abc import Mapping

from meta.accounts.calls import ProviderCalls
from meta.accounts.health import OPERATION, ConnectionHealth
from meta.accounts.registry import AccountRegistry
from meta.accounts.setup import ConnectionSetup
from meta.accounts.signup import EmbeddedSignup
from meta.accounts.templates import TemplateTasks
from meta.graph import GraphClient
from shared.process.tasks import Handler
from shared.secrets import Vault
from shared.settings import Settings
from shared.store.store import Store


def handlers(
    store: Store, accounts: AccountRegistry, graph: GraphClient, *, vault: Vault, settings: Settings, kind: str
) -> tuple[Mapping[str, Handler], ConnectionHealth]:
    """Return the handlers, and the periodic checks of connections."""
    calls = ProviderCalls(graph)
    health = ConnectionHealth(store, accounts, calls, settings, kind=kind)
    signup = EmbeddedSignup(store, accounts, calls, health, vault=vault, settings=settings)
    setup = ConnectionSetup(store, accounts, calls, health, settings)
    listed = TemplateTasks(store, calls, health)
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
