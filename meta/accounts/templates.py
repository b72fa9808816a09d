"""Message templates at the provider: read, created, removed. Their rows are in `shared.store.templates`; reviews come
by webhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from meta.accounts.calls import ProviderCalls, ProviderRefused, text
from meta.accounts.health import ConnectionHealth
from meta.accounts.registry import D360, Account
from shared.clock import utc_now
from shared.store import templates
from shared.store.store import Store
from shared.store.tasks import Task, TaskFailed

_PAGE: Final = 100
"""Templates in one answer: at one to two KB each they stay below the longest answer that is read."""
_MOST_PAGES: Final = 100
"""Pages of one list. An account has at most 6,000 templates; a longer list is a cursor that runs in a circle."""
_FIELDS: Final = "id,name,language,status,category,components,rejected_reason,quality_score"


class TemplateTasks:
    """Handlers of tasks about templates."""

    def __init__(self, store: Store, calls: ProviderCalls, health: ConnectionHealth) -> None:
        self._store, self._calls, self._health = store, calls, health

    async def sync(self, task: Task) -> Mapping[str, Any]:
        """Handler `sync_templates`: read all of the account's templates; those that it has no more are forgotten."""
        account = await self._health.account_of(task)
        # before the first call: a status that a webhook brings while the list is read is newer than the list
        at = utc_now()
        listed = await (self._d360_list(account) if _is_d360(account) else self._list(account))
        removed = await self._store.call(
            templates.write,
            account.connection.id,
            account.connection.world,
            [_row(one) for one in listed],
            at=at,
            whole=True,
        )
        return {"templates": len(listed), "removed": removed}

    async def create(self, task: Task) -> Mapping[str, Any]:
        """Handler `create_template`: submit one for review."""
        account, asked = await self._health.account_of(task), task.arguments
        body = {name: asked[name] for name in ("name", "language", "category", "components")}
        if asked.get("allowCategoryChange") is not None:
            body["allow_category_change"] = asked["allowCategoryChange"]
        # before the call: the review's webhook may overtake the answer, and wins by its later time
        at = utc_now()
        made = await self._calls.post("creating the template", _address(account), account.endpoint.headers, body)
        row = _row(
            {**body, **{name: made[name] for name in ("id", "status", "category") if isinstance(made.get(name), str)}}
        )
        await self._store.call(
            templates.write, account.connection.id, account.connection.world, [row], at=at, whole=False
        )
        return {"id": row["provider_id"], "status": row["status"], "category": row["category"]}

    async def delete(self, task: Task) -> Mapping[str, Any]:
        """Handler `delete_template`: remove one name, in all languages, or the one language that is named by its id."""
        account, name, language = (
            await self._health.account_of(task),
            str(task.arguments["name"]),
            task.arguments.get("language"),
        )
        query = {} if _is_d360(account) else {"name": name}
        if language:
            if _is_d360(account):
                raise TaskFailed("invalid", "360dialog removes a template in all its languages")
            found = await self._store.call(
                templates.find_template,
                connection_id=account.connection.id,
                world=account.connection.world,
                name=name,
                language=language,
            )
            if found.template is None or not found.template.provider_id:
                raise TaskFailed("invalid", "no such template is known; read the templates first")
            query["hsm_id"] = found.template.provider_id
        url = f"{_address(account)}/{name}" if _is_d360(account) else _address(account)
        try:
            await self._calls.call("DELETE", "deleting the template", url, account.endpoint.headers, query=query)
        except ProviderRefused as refused:
            # an interrupted run has done it, or another client
            if not (task.attempt > 1 and refused.provider_code in ("100", "http_404", "360dialog_404")):
                raise
        removed = await self._store.call(
            partial(templates.delete, name=name, language=language or None),
            account.connection.id,
            account.connection.world,
        )
        return {"removed": removed}

    async def _list(self, account: Account) -> list[Mapping[str, Any]]:
        listed: list[Mapping[str, Any]] = []
        query = {"limit": str(_PAGE), "fields": _FIELDS}
        for _ in range(_MOST_PAGES):
            found = await self._calls.get("reading the templates", _address(account), account.endpoint.headers, **query)
            listed += _objects(found.get("data"))
            paging = found.get("paging")
            cursors = paging.get("cursors") if isinstance(paging, Mapping) else None
            after = text(cursors, "after") if isinstance(cursors, Mapping) else ""
            # the last page has cursors too, but nothing to follow
            if not after or not isinstance(paging, Mapping) or not text(paging, "next"):
                return listed
            query["after"] = after
        raise TaskFailed("unclear", "reading the templates: the list has no end")

    async def _d360_list(self, account: Account) -> list[Mapping[str, Any]]:
        listed: list[Mapping[str, Any]] = []
        for page in range(_MOST_PAGES):
            found = await self._calls.get(
                "reading the templates",
                _address(account),
                account.endpoint.headers,
                limit=str(_PAGE),
                offset=str(page * _PAGE),
            )
            here = _objects(found.get("waba_templates"))
            listed += here
            if len(here) < _PAGE:
                return listed
        raise TaskFailed("unclear", "reading the templates: the list has no end")


def _is_d360(account: Account) -> bool:
    return account.connection.connection_type == D360


def _address(account: Account) -> str:
    if _is_d360(account):
        return f"{account.base}/v1/configs/templates"
    if not account.connection.waba_id:
        raise TaskFailed(
            "invalid", "the connection's wabaId is not set: templates belong to the WhatsApp Business Account"
        )
    return f"{account.base}/{account.connection.waba_id}/message_templates"


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping) and text(one, "name")] if isinstance(value, list) else []


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provider's template as the table holds it."""
    quality, components = one.get("quality_score"), one.get("components")
    reason = text(one, "rejected_reason")
    return {
        "provider_id": text(one, "id"),
        "name": text(one, "name")[:512],
        "language": text(one, "language")[:20],
        "category": text(one, "category").upper(),
        "status": (text(one, "status") or "PENDING").upper(),
        "reason": "" if reason.upper() == "NONE" else reason,
        "quality": text(quality, "score") if isinstance(quality, Mapping) else "",
        "components": components if isinstance(components, list) else [],
    }
