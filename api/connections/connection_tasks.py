"""Requests to the provider about a connection: each is a task of the process that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.connections.bodies import DIGITS
from api.connections.connections import BODY_LIMIT, PATH, UNKNOWN, ConnectionOperations
from api.connections.tasks import TASK_PROBLEMS, TaskOperations
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Handler, Operation
from api.http.problems import Problem
from shared.channels.registry import channel_named
from shared.fields import Field, checked, json_schema
from shared.secrets import Vault
from shared.store import tasks
from shared.store.connections import Connection
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.tenancy.principals import KeyScope

TASK_S: Final = 60.0
"""Seconds until a task expires: some requests to the provider, or the restart of the process that serves the
connection.
"""
ANSWERS: Final[Mapping[int, tuple[str, ...]]] = {
    200: ("Done; `result` is the outcome.", "Task"),
    202: ("Not finished yet; see `Location`.", "Task"),
}
PROBLEMS: Final = (*UNKNOWN, "unsupported_operation", *TASK_PROBLEMS)
_PIN: Final = Field(
    name="pin",
    kind=str,
    documented=DIGITS,
    shortest=6,
    longest=6,
    purpose="Two-step PIN, six digits; the one that is kept when it is not given.",
)
# the limits are those of Meta's whatsapp_business_profile: a refusal here names the field, the provider's does not
_EXAMPLES: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "registerNumber": ({"pin": "123456"},),
    "changeBusinessProfile": ({"about": "Parcels, every day", "websites": ["https://example.com"]},),
}
"""Bodies by operation."""
_PROFILE_FIELDS: Final = (
    Field(name="about", kind=str, shortest=1, longest=139, purpose="Text below the name."),
    Field(name="address", kind=str, longest=256, purpose="Street address."),
    Field(name="description", kind=str, longest=512, purpose="What the business does."),
    Field(name="email", kind=str, longest=128, purpose="E-mail address."),
    Field(name="vertical", kind=str, longest=40, purpose="Meta's industry category, for example RETAIL."),
    Field(name="websites", kind=list, items=Field(kind=str, longest=256), most=2, purpose="At most two addresses."),
)


class ConnectionTaskOperations:
    """The operations that send a request to a provider."""

    def __init__(self, connections: ConnectionOperations, store: Store, asked: TaskOperations, vault: Vault) -> None:
        self._connections, self._store, self._asked, self._vault = connections, store, asked, vault

    def operations(self) -> list[Operation]:
        """Return them."""
        rows: tuple[tuple[str, str, str, KeyScope, str, Handler, tuple[Field, ...]], ...] = (
            (
                "testConnection",
                "POST",
                "test",
                "operate",
                "Ask the provider about number, token and webhooks now",
                self.test,
                (),
            ),
            (
                "registerNumber",
                "POST",
                "register",
                "manage",
                "Register the number with its two-step PIN",
                self.register,
                (_PIN,),
            ),
            (
                "deregisterNumber",
                "POST",
                "deregister",
                "manage",
                "Take the number off the Cloud API, and hold its queue",
                self.deregister,
                (),
            ),
            (
                "setConnectionWebhook",
                "POST",
                "webhook",
                "manage",
                "Let webhooks come: set the number's address at 360dialog, or subscribe the app to its account at Meta",
                self.set_webhook,
                (),
            ),
            (
                "getBusinessProfile",
                "GET",
                "profile",
                "read",
                "What customers see of the business",
                self.show_profile,
                (),
            ),
            (
                "changeBusinessProfile",
                "PATCH",
                "profile",
                "manage",
                "Change what customers see of the business",
                self.change_profile,
                _PROFILE_FIELDS,
            ),
        )
        return [
            Operation(
                operation_id=operation_id,
                method=method,
                path=f"{PATH}/{name}",
                scope=scope,
                group="Connections",
                summary=summary,
                handler=handler,
                body=json_schema(fields) if fields else None,
                examples=_EXAMPLES.get(operation_id, ()),
                answers=ANSWERS,
                problems=(*PROBLEMS, *(BODY_PROBLEMS if fields else ())),
            )
            for operation_id, method, name, scope, summary, handler, fields in rows
        ]

    async def test(self, request: Request) -> Response:
        """Test the connection at its provider."""
        connection = await self._connections.connection(request)
        if not _offers(connection, "test"):
            raise unsupported(
                connection,
                "test",
                "A browser session is checked continuously: see GET /api/v2/sessions/{companyId}/{phoneIndex}.",
            )
        return await self.ask(request, connection, "test_connection")

    async def register(self, request: Request) -> Response:
        """Register the number."""
        connection = await self._whatsapp(request, "register")
        pin = checked(await read_json(request, limit=BODY_LIMIT), (_PIN,))["pin"]
        if pin is not None and not pin.isdecimal():
            raise Problem(
                "body_invalid", "/pin must be six digits.", errors=[{"pointer": "/pin", "reason": "must be six digits"}]
            )
        # not repeatable: Meta allows ten registrations of a number in 72 hours, and a task whose process died may
        # have used one
        return await self.ask(request, connection, "register", secrets={"pin": pin} if pin else None, repeatable=False)

    async def deregister(self, request: Request) -> Response:
        """Deregister the number."""
        # not repeatable, as for a registration: a test of the connection shows whether it was carried out
        return await self.ask(request, await self._whatsapp(request, "deregister"), "deregister", repeatable=False)

    async def set_webhook(self, request: Request) -> Response:
        """Set 360dialog's webhook, or subscribe our app at Meta."""
        connection = await self._connections.connection(request)
        if not _offers(connection, "webhook"):
            raise unsupported(
                connection,
                "webhook",
                "Webhooks of a Page or a session are not set for a number.",
            )
        # repeatable, the default of `ask`: setting the same address twice is harmless
        return await self.ask(request, connection, "set_webhook")

    async def show_profile(self, request: Request) -> Response:
        """Read the profile."""
        return await self.ask(request, await self._with_profile(request), "profile")

    async def change_profile(self, request: Request) -> Response:
        """Change the profile."""
        connection = await self._with_profile(request)
        given = checked(await read_json(request, limit=BODY_LIMIT), _PROFILE_FIELDS)
        return await self.ask(
            request,
            connection,
            "profile",
            # fields that are not in the body stay unchanged; an empty text clears a field
            {name: value for name, value in given.items() if value is not None},
        )

    async def _whatsapp(self, request: Request, operation: str) -> Connection:
        connection = await self._connections.connection(request)
        if not _offers(connection, operation):
            raise unsupported(connection, operation, "Only numbers that are served by Meta directly are registered.")
        return connection

    async def _with_profile(self, request: Request) -> Connection:
        connection = await self._connections.connection(request)
        if not _offers(connection, "profile"):
            raise unsupported(
                connection, "profile", "Only WhatsApp numbers at Meta and 360dialog have a business profile."
            )
        return connection

    async def ask(
        self,
        request: Request,
        connection: Connection,
        operation: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        secrets: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> Response:
        """Add a task about a connection and answer with it. Arguments as for `shared.store.tasks.add`; `secrets` are
        sealed.
        """
        task_id = await self._store.as_company(connection.company_id).call(
            recorded(act_of(request), tasks.add, after=lambda made: {"taskId": str(made)}),
            company_id=connection.company_id,
            connection_id=connection.id,
            operation=operation,
            arguments=arguments,
            # a task is a row that everyone with access to the database can read
            sealed=tasks.seal_secrets(self._vault, connection.company_id, operation, secrets) if secrets else "",
            expires_in_s=TASK_S,
            repeatable=repeatable,
        )
        return await self._asked.answer(request, connection.company_id, task_id)


def _offers(connection: Connection, operation: str) -> bool:
    # from the channel's row, so that a new connection type needs no change here
    return operation in channel_named(connection.connection_type).provider_tasks


def unsupported(connection: Connection, operation: str, sentence: str) -> Problem:
    """Return the refusal of an operation that a connection's type does not have."""
    return Problem(
        "unsupported_operation",
        sentence,
        operation=operation,
        connectionType=connection.connection_type,
        reason="channel",
    )
