"""Message templates: created, listed and deleted over the Graph API and 360dialog, reviewed by the control API."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox import messages
from sandbox.account_calls import Serve, gate
from sandbox.accounts import chosen
from sandbox.graph_errors import GraphError
from sandbox.openapi.validators import BodyValidator
from sandbox.request_bodies import read_body
from sandbox.state import Sandbox

REVIEWS: Final = ("APPROVED", "REJECTED", "PENDING", "PAUSED", "DISABLED", "FLAGGED", "IN_APPEAL")
"""Statuses that a review may set, as Meta names them."""
_NAME: Final = re.compile(r"[a-z0-9_]{1,512}")
"""A template's name by Meta's rule."""
_MORE: Final[Mapping[str, Any]] = {
    "required": ["name", "language", "category", "components"],
    "properties": {
        "name": {"minLength": 1, "maxLength": 512},
        "language": {"minLength": 2, "maxLength": 15},
        "category": {"enum": ["AUTHENTICATION", "MARKETING", "UTILITY"]},
        "components": {"minItems": 1, "items": {"required": ["type"]}},
    },
}
"""What Meta's page requires beyond the document, which only lists the fields."""
_PAGE_MOST: Final = 250
"""Most templates in a page of a list; a higher `limit` is reduced to it without an error."""


class Shop:
    """The templates of one account."""

    def __init__(self, sandbox: Sandbox, waba_id: str) -> None:
        self._sandbox, self.waba_id = sandbox, waba_id
        self._validator = BodyValidator("/{Version}/{WABA-ID}/message_templates", _MORE)

    @property
    def listed(self) -> list[dict[str, Any]]:
        """Every template, in order of creation."""
        found: list[dict[str, Any]] = self._sandbox.accounts.waba(self.waba_id)["templates"]
        return found

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a template for review. Raises `GraphError`."""
        if violation := self._validator.violation(body):
            raise messages.refusal(violation)
        if not _NAME.fullmatch(body["name"]):
            raise GraphError(
                100,
                message="Invalid parameter",
                subcode=2388042,
                details="The name has lower case letters, digits and underscores only",
            )
        if any(one["name"] == body["name"] and one["language"] == body["language"] for one in self.listed):
            raise GraphError(
                100, message="Invalid parameter", subcode=2388024, details="Content in this language already exists"
            )
        made = {
            "id": str(secrets.randbelow(9 * 10**15) + 10**15),
            **{name: body[name] for name in ("name", "language", "category", "components")},
            "parameter_format": body.get("parameter_format", "POSITIONAL"),
            # the tester reviews it: `POST /control/templates`
            "status": "PENDING",
        }
        self.listed.append(made)
        self._sandbox.accounts.save()
        self._sandbox.ledger.append(
            "account", "template_created", waba_id=self.waba_id, name=made["name"], language=made["language"]
        )
        return {"id": made["id"], "status": made["status"], "category": made["category"]}

    def delete(self, name: str, template_id: str) -> None:
        """Delete a name in all languages, or one template by its id. Raises `GraphError` when there is none."""
        doomed = [one for one in self.listed if one["name"] == name and template_id in ("", one["id"])]
        if not doomed:
            raise GraphError(100, message="Invalid parameter", subcode=2593002, details="Message Template not found")
        self._sandbox.accounts.waba(self.waba_id)["templates"] = [one for one in self.listed if one not in doomed]
        self._sandbox.accounts.save()
        self._sandbox.ledger.append("account", "template_deleted", waba_id=self.waba_id, name=name)

    def review(self, name: str, language: str, status: str, reason: str) -> dict[str, Any] | None:
        """Set a template's status and return the value of its webhook, None when there is no such template."""
        found = next((one for one in self.listed if one["name"] == name and one["language"] == language), None)
        if found is None:
            return None
        # Meta writes NONE for no reason
        found |= {"status": status, "rejected_reason": reason or "NONE"}
        self._sandbox.accounts.save()
        return {
            "event": status,
            # as at Meta, the id is a number in the webhook and a string in the list
            "message_template_id": int(found["id"]),
            "message_template_name": name,
            "message_template_language": language,
            "message_template_category": found["category"],
            "reason": reason or "NONE",
        }


def template_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """Return the routes of the Graph API; 360dialog's are in `d360.py`."""
    owners = sorted({number.waba_id for number in sandbox.config.numbers if number.channel == "graph"})
    paths = {f"/graph/{{version}}/{owner}/message_templates": Shop(sandbox, owner) for owner in owners}
    return [
        Route(path, gate(sandbox, "templates", _edge(shop)), methods=["GET", "POST", "DELETE"])
        for path, shop in paths.items()
    ]


def _edge(shop: Shop) -> Serve:
    async def serve(request: Request) -> Response:
        query = request.query_params
        if request.method == "POST":
            return JSONResponse(shop.create(await read_body(request)))
        if request.method == "DELETE":
            if not query.get("name"):
                raise GraphError(100, message="(#100) The parameter name is required.")
            shop.delete(query["name"], query.get("hsm_id", ""))
            return JSONResponse({"success": True})
        found = [
            one
            for one in shop.listed
            if query.get("name") in (None, one["name"]) and query.get("status") in (None, one["status"])
        ]
        # the cursor is the offset; real ones are opaque, and clients must not read them
        limit, after = _whole(query.get("limit", "25"), _PAGE_MOST), _whole(query.get("after", "0"), 10**9)
        here = found[after : after + limit]
        cursors = {"cursors": {"before": str(after), "after": str(after + len(here))}}
        following = (
            {"next": str(request.url.include_query_params(after=after + len(here)))}
            if after + len(here) < len(found)
            else {}
        )
        return JSONResponse(
            {"data": [chosen(one, query.get("fields", "")) for one in here], "paging": {**cursors, **following}}
        )

    return serve


def _whole(text: str, most: int) -> int:
    if not (text.isdecimal() and len(text) <= 18):
        raise GraphError(
            100, message="Invalid cursors values" if most > _PAGE_MOST else "(#100) limit must be a positive integer"
        )
    return min(int(text), most)
