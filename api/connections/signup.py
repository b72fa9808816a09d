"""Embedded signup: turns the code from a customer's browser into a connection."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.connections.bodies import DIGITS
from api.connections.connection_tasks import ANSWERS
from api.connections.connections import BODY_LIMIT
from api.connections.tasks import TASK_PROBLEMS, TaskOperations
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from shared.channels.registry import kind_for
from shared.compose.directory import Directory
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.secrets import Vault
from shared.store import tasks
from shared.store.store import Store
from shared.tenancy.audit import recorded

_OPERATION: Final = "signup"
_TASK_S: Final = 120.0
"""Seconds until the task expires: it makes several requests to Meta in turn, so twice the time of a single
operation.
"""
_FIELDS: Final = (
    Field(
        name="code",
        kind=str,
        shortest=1,
        longest=4096,
        purpose="Code from `FB.login`; valid for 30 seconds. Omitted to resume a signup.",
    ),
    Field(
        name="wabaId",
        kind=str,
        required=True,
        shortest=1,
        longest=32,
        documented=DIGITS,
        purpose="`waba_id` of the browser's event.",
    ),
    Field(
        name="phoneNumberId",
        kind=str,
        required=True,
        shortest=1,
        longest=32,
        documented=DIGITS,
        purpose="`phone_number_id` of the browser's event.",
    ),
    Field(name="businessId", kind=str, longest=32, documented=DIGITS, purpose="`business_id` of the browser's event."),
    Field(
        name="pin",
        kind=str,
        shortest=6,
        longest=6,
        documented=DIGITS,
        purpose="Two-step PIN of the number, six digits; generated if absent.",
    ),
    Field(
        name="phoneIndex",
        kind=int,
        high=9999,
        purpose="Index within the company; the first that is free if it is not given.",
    ),
    Field(
        name="coexistence",
        kind=bool,
        default=False,
        purpose="The number stays on the WhatsApp Business app: it is not registered.",
    ),
)


class SignupOperations:
    """The operation of embedded signup."""

    def __init__(self, directory: Directory, store: Store, asked: TaskOperations, vault: Vault) -> None:
        self._directory, self._store, self._asked, self._vault = directory, store, asked, vault

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                operation_id="signUp",
                method="POST",
                path="/api/v2/signup/{companyId}",
                scope="manage",
                act="signup.begun",
                group="Connections",
                summary="Embedded signup: exchange the code, subscribe, register, connect; repeated, it continues "
                "where it stopped",
                handler=self.sign_up,
                body=json_schema(_FIELDS),
                examples=({"code": "AQD…", "wabaId": "102290129340398", "phoneNumberId": "106540352242922"},),
                answers=ANSWERS,
                problems=("company_unknown", *BODY_PROBLEMS, *TASK_PROBLEMS),
            )
        ]

    async def sign_up(self, request: Request) -> Response:
        """Start or resume a signup."""
        company_id = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        given = checked(await read_json(request, limit=BODY_LIMIT), _FIELDS)
        errors = [
            (f"/{name}", "must be digits")
            for name in ("wabaId", "phoneNumberId", "businessId", "pin")
            # ids become parts of request paths at Meta, so that only digits are allowed
            if given[name] and not _digits(given[name])
        ]
        if errors:
            raise FieldsInvalid(errors)
        # the code can be exchanged for a token of the customer's account, and is as secret as one
        secrets = {name: given[name] for name in ("code", "pin") if given[name]}
        task_id = await self._store.as_company(company_id).call(
            recorded(act_of(request), tasks.add, after=lambda made: {"taskId": str(made), "wabaId": given["wabaId"]}),
            company_id=company_id,
            # explicit, since there is no connection yet that determines it
            kind=kind_for("meta_embedded").name,
            operation=_OPERATION,
            arguments={
                name: given[name] for name in ("wabaId", "phoneNumberId", "businessId", "phoneIndex", "coexistence")
            },
            sealed=tasks.seal_secrets(self._vault, company_id, _OPERATION, secrets) if secrets else "",
            expires_in_s=_TASK_S,
            # a second run finds the results of the first one, and continues from there
            repeatable=True,
        )
        return await self._asked.answer(request, company_id, task_id)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()
