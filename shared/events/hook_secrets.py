"""What is sealed of a subscriber of webhooks: its secrets and the values of its headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.secrets import Sealed, Vault


@dataclass(frozen=True, kw_only=True, slots=True)
class HookSecrets:
    """Secrets, the newest first: at most two, during a rotation. headers: sent with each delivery."""

    secrets: tuple[str, ...] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def sealed(self, vault: Vault, hook_id: int) -> str:
        """Return them as the row of a subscriber holds them; they open in this row alone."""
        text = json.dumps({"secrets": self.secrets, "headers": dict(self.headers)})
        return vault.seal(text, context=_context(hook_id)).to_text()

    @classmethod
    def opened(cls, vault: Vault, hook_id: int, sealed: str) -> HookSecrets:
        """Return what a row holds. Raises `SecretUnreadable`."""
        kept = json.loads(vault.open(Sealed.from_text(sealed), context=_context(hook_id)))
        return cls(secrets=tuple(kept["secrets"]), headers=kept["headers"])


def _context(hook_id: int) -> str:
    # `sealed_hooks` names it alike
    return f"hooks/{hook_id}"
