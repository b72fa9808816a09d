"""Which models answer for a company, and whose key they get."""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import Refused
from shared.llm.questions import ModelTarget
from shared.logs import logger
from shared.secrets import SecretUnreadable
from shared.settings import Settings
from shared.tenancy.assistant_settings import API_KEY_SECRET
from shared.tenancy.company_settings import CompanySettings
from shared.tenancy.tenant_secrets import SecretService

log = logger(__name__)

SANDBOX_MODEL = "sandbox-model"
_SANDBOX_PATH = "/openai/v1"


class ModelTargets:
    """Finds them.

    Args:
        settings: of the installation: OPENAI_API_KEY, OPENAI_BASE_URL, LLM_MODEL; without them and with a sandbox, the
            sandbox's model.
    """

    def __init__(self, settings: Settings, secrets: SecretService) -> None:
        self._secrets = secrets
        self._key, self._model = str(settings.own("OPENAI_API_KEY")), str(settings.own("LLM_MODEL"))
        self._base_url = str(settings.own("OPENAI_BASE_URL")).rstrip("/")
        if not self._base_url and self._key:
            self._base_url = "https://api.openai.com/v1"
        if not self._base_url and settings.sandbox_url:
            self._base_url = settings.sandbox_url.rstrip("/") + _SANDBOX_PATH
            self._model = self._model or SANDBOX_MODEL

    async def of(self, settings: CompanySettings, company_id: str) -> Sequence[ModelTarget]:
        """Return a company's models in the order in which they are asked; empty: there is none.

        Raises:
            StoreUnavailable: the database is away.
        """
        config = settings.assistant
        own_key = await self._own_key(company_id)
        if config.base_url:
            # the installation's key goes to the installation's address only
            base_url, key, is_ours = config.base_url.rstrip("/"), own_key, False
        else:
            base_url, key, is_ours = self._base_url, own_key or self._key, True
        if not base_url:
            return ()
        # an empty name is the installation's model, which another address need not have
        names = dict.fromkeys(name or ("" if config.base_url else self._model) for name in config.models)
        return [ModelTarget(model=name, base_url=base_url, key=key, is_ours=is_ours) for name in names if name]

    async def _own_key(self, company_id: str) -> str:
        async def read(value: bytearray) -> str:
            return value.decode()

        try:
            return await self._secrets.with_tenant_secret(company_id, API_KEY_SECRET, read)
        # most companies have none
        except Refused:
            return ""
        except SecretUnreadable as error:
            # the provider will refuse the call, and the customer gets what is set for that
            log.error("model_key_unreadable", company_id=company_id, reason=str(error))
            return ""
