"""Shapes of companies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.shapes import AT, COUNT, TEXT, TEXT_OR_NULL, Schema, array, choice, closed_object, ref
from shared.fields import Field, json_schema
from shared.states import CompanyState
from shared.tenancy.company_settings import SETTINGS


def _complete(fields: tuple[Field, ...]) -> Schema:
    """Return the schema of an object in which every field is present: answers leave no default out."""
    schema = json_schema(fields)
    nested = {field.name: _complete(field.fields) for field in fields if field.fields}
    return {
        **schema,
        "required": [field.name for field in fields],
        "properties": {**schema["properties"], **nested},
    }


COMPANY_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Company": closed_object(
        {
            "companyId": TEXT,
            "name": TEXT,
            "inDoubtPolicy": TEXT_OR_NULL,
            "state": {
                **choice("CompanyState", *CompanyState),
                "description": "`suspended`: its keys are refused and nothing is sent. `deleting`: it is being removed "
                "with everything of it.",
            },
            "stateReason": TEXT_OR_NULL,
            "stateAt": {**AT, "description": "Since when it is in this state."},
            "settings": ref("CompanySettings"),
            "connections": COUNT,
            "version": {**COUNT, "description": "Changes with each change; also in `ETag`."},
            "createdAt": AT,
            "updatedAt": AT,
        }
    ),
    "CompanySettings": _complete(SETTINGS),
    "Secret": closed_object({"name": TEXT, "createdAt": AT, "updatedAt": AT}),
    "Secrets": closed_object({"companyId": TEXT, "secrets": array(ref("Secret"))}),
    "Companies": closed_object(
        {
            "companies": array(ref("Company")),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
}
