"""Message templates of a connection: list, sync from the provider, submit, remove."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.connections.connection_tasks import ANSWERS, PROBLEMS, ConnectionTaskOperations, unsupported
from api.connections.connections import UNKNOWN, ConnectionOperations
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, query_of
from api.http.problems import Problem
from shared.channels.registry import channel_named
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.store import templates
from shared.store.connections import Connection
from shared.store.store import Store
from shared.store.templates import Template
from shared.timestamps import iso

_PATH: Final = "/api/v2/templates/{companyId}/{phoneIndex}"
# Meta's rules for names; a language is a code such as `en` or `en_US`. Neither holds a space, which separates them
# in a cursor
_NAME: Final = re.compile(r"[a-z0-9_]{1,512}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,8})?")
# templates in one page
_MOST: Final = 200
# bytes; a template with a carousel of ten cards and their examples is some tens of KiB
_BODY_LIMIT: Final = 1 << 18
_EXAMPLE: Final = {
    "name": "parcel_sent",
    "language": "en_US",
    "category": "UTILITY",
    "components": [{"type": "BODY", "text": "Parcel {{1}} is on its way.", "example": {"body_text": [["1001"]]}}],
}
_FIELDS: Final = (
    Field(
        name="name",
        kind=str,
        required=True,
        shortest=1,
        longest=512,
        documented=(("pattern", f"^{_NAME.pattern}$"),),
        purpose="Lower case letters, digits and underscores.",
    ),
    Field(
        name="language",
        kind=str,
        required=True,
        shortest=2,
        longest=15,
        documented=(("pattern", f"^{_LANGUAGE.pattern}$"),),
        purpose="For example `en_US`.",
    ),
    Field(
        name="category",
        kind=str,
        required=True,
        choices=("AUTHENTICATION", "MARKETING", "UTILITY"),
        purpose="Category.",
    ),
    Field(
        name="components",
        kind=list,
        required=True,
        items=Field(
            kind=dict,
            title="NewTemplateComponent",
            open=True,
            # the rest of a component is the provider's to check: its rules change more often than this program
            fields=(Field(name="type", kind=str, required=True, shortest=1, longest=40),),
        ),
        fewest=1,
        most=20,
        purpose="As the provider describes them.",
    ),
    Field(
        name="allowCategoryChange",
        kind=bool,
        purpose="Whether the provider may change its category instead of rejecting it.",
    ),
)


class TemplateOperations:
    """The operations on templates."""

    def __init__(self, connections: ConnectionOperations, tasks: ConnectionTaskOperations, store: Store) -> None:
        self._connections, self._tasks, self._store = connections, tasks, store

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="listTemplates",
                method="GET",
                path=_PATH,
                scope="read",
                group="Templates",
                summary="Known templates",
                handler=self.show,
                parameters=(
                    Parameter(
                        name="status",
                        place="query",
                        purpose="Only those, for example APPROVED.",
                        schema={"type": "string", "pattern": "^[A-Za-z_]{1,40}$"},
                        rule="a word of the provider's, for example APPROVED",
                    ),
                    cursor(f"^{_NAME.pattern} {_LANGUAGE.pattern}$"),
                ),
                answers={
                    200: (
                        f"By name and language, at most {_MOST}; `syncedAt` is when they were last read.",
                        "Templates",
                    )
                },
                problems=(*UNKNOWN, "unsupported_operation", "query_invalid"),
            ),
            Operation(
                operation_id="syncTemplates",
                method="POST",
                path=f"{_PATH}/sync",
                scope="manage",
                group="Templates",
                summary="Sync all templates from the provider",
                handler=self.sync,
                answers=ANSWERS,
                problems=PROBLEMS,
            ),
            Operation(
                operation_id="createTemplate",
                method="POST",
                path=_PATH,
                scope="manage",
                group="Templates",
                summary="Submit a template for review",
                handler=self.create,
                body=json_schema(_FIELDS),
                examples=(_EXAMPLE,),
                answers=ANSWERS,
                problems=(*PROBLEMS, *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="removeTemplate",
                method="DELETE",
                path=f"{_PATH}/{{name}}",
                scope="manage",
                group="Templates",
                summary="Remove a template, in all languages or in one",
                handler=self.delete,
                parameters=(
                    Parameter(
                        name="language",
                        place="query",
                        purpose="Only this one; not at 360dialog.",
                        schema={"type": "string", "pattern": f"^{_LANGUAGE.pattern}$"},
                        rule="one like en or en_US",
                    ),
                ),
                answers=ANSWERS,
                problems=(*PROBLEMS, "query_invalid", "template_unknown"),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with the stored templates."""
        connection = await self._connection(request)
        query = query_of(request)
        name, _, language = (query["cursor"] or "").partition(" ")
        status = query["status"]
        found = await self._store.as_company(connection.company_id).call(
            templates.of_connection,
            connection.id,
            connection.world,
            after=(name, language),
            status=status.upper() if status else None,
            most=_MOST,
        )
        # no template has an empty name: this reads only the time of the last sync
        synced = await self._store.as_company(connection.company_id).call(
            templates.find_template, connection_id=connection.id, world=connection.world, name="", language=""
        )
        following = f"{found[-1].name} {found[-1].language}" if len(found) == _MOST else None
        return JSONResponse(
            {"templates": [_template(one) for one in found], "next": following, "syncedAt": iso(synced.synced_at)}
        )

    async def sync(self, request: Request) -> Response:
        """Read all templates anew."""
        # repeatable: it only reads at the provider
        return await self._tasks.ask(request, await self._connection(request), "sync_templates")

    async def create(self, request: Request) -> Response:
        """Submit a template for review."""
        connection = await self._connection(request)
        given = checked(await read_json(request, limit=_BODY_LIMIT), _FIELDS)
        errors = []
        if not _NAME.fullmatch(given["name"]):
            errors.append(("/name", "must be lower case letters, digits and underscores"))
        if not _LANGUAGE.fullmatch(given["language"]):
            errors.append(("/language", "must be a language like en or en_US"))
        if errors:
            raise FieldsInvalid(errors)
        if (act := act_of(request)) is not None:
            act.subject |= {"name": given["name"], "language": given["language"]}
        # not repeatable: the provider refuses a second creation, and the state is unknown until a sync
        return await self._tasks.ask(request, connection, "create_template", given, repeatable=False)

    async def delete(self, request: Request) -> Response:
        """Remove a template."""
        connection = await self._connection(request)
        name, language = request.path_params["name"], query_of(request)["language"]
        if not _NAME.fullmatch(name):
            raise Problem("template_unknown", "No template can have this name.")
        # repeatable: a second removal finds nothing
        return await self._tasks.ask(request, connection, "delete_template", {"name": name, "language": language})

    async def _connection(self, request: Request) -> Connection:
        connection = await self._connections.connection(request)
        if not channel_named(connection.connection_type).templates:
            raise unsupported(
                connection, "templates", f"A connection of type {connection.connection_type} has no templates."
            )
        return connection


def _template(one: Template) -> Mapping[str, Any]:
    return {
        "id": one.provider_id or None,
        "name": one.name,
        "language": one.language,
        "category": one.category or None,
        "status": one.status,
        "reason": one.reason or None,
        "quality": one.quality or None,
        "components": list(one.components),
        "updatedAt": iso(one.updated_at),
    }
