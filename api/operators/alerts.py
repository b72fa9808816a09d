"""Alerts of the installation, and silences: for how long there are no notifications of some of them."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of, principal_of
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from shared.alert_rules import RULES_BY_NAME
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.store import alerts
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.timestamps import iso
from shared.troubles import KINDS_OF_TROUBLE

_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_NEWEST: Final = (1 << 63) - 1
_LONGEST_SILENCE_S: Final = 30 * 86400.0
"""Seconds: a silence that is forgotten ends by itself within a month."""
_LABELS_MOST: Final = 5
_SILENCE: Final = (
    Field(
        name="name",
        kind=str,
        choices=tuple(RULES_BY_NAME),
        title="AlertName",
        purpose="Of an alert, such as `ProcessDown`; left out: all alerts.",
    ),
    Field(
        name="labels",
        kind=dict,
        purpose='Only alerts that have these labels: `{"slot": "meta-0"}`.',
        documented=(
            ("maxProperties", _LABELS_MOST),
            ("additionalProperties", {"type": "string", "minLength": 1, "maxLength": 100}),
        ),
    ),
    Field(
        name="seconds",
        kind=int,
        required=True,
        low=1,
        high=int(_LONGEST_SILENCE_S),
        purpose="For how long, at most thirty days.",
    ),
    Field(name="reason", kind=str, required=True, shortest=1, longest=500, purpose="Why, for the others."),
)


class AlertOperations:
    """The operations on alerts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return them."""

        def operation(operation_id: str, method: str, path: str, summary: str, handler: Any, **given: Any) -> Operation:
            return Operation(
                operation_id=operation_id,
                method=method,
                path=path,
                summary=summary,
                handler=handler,
                group="Alerts",
                scope="monitor" if method == "GET" else "operate",
                owner="installation",
                **given,
            )

        return [
            operation(
                "listAlerts",
                "GET",
                "/api/v2/alerts",
                "Alerts, newest first",
                self.show,
                answers={200: ("One page.", "Alerts")},
                parameters=(
                    limit("Alerts in one page.", default=_PAGE, most=_LONGEST_PAGE),
                    cursor(),
                    Parameter(
                        name="state",
                        place="query",
                        purpose="Only those that are on, or that ended.",
                        schema=choice("AlertState", "on", "ended"),
                    ),
                ),
            ),
            operation(
                "listSilences",
                "GET",
                "/api/v2/alerts/silences",
                "Silences that last",
                self.silences,
                answers={200: ("All of them.", "AlertSilences")},
            ),
            operation(
                "silenceAlerts",
                "POST",
                "/api/v2/alerts/silences",
                "Send no notifications of certain alerts for a while",
                self.silence,
                answers={201: ("They are kept as rows; no events are written.", "AlertSilence")},
                body=json_schema(_SILENCE),
                examples=({"name": "ProcessDown", "labels": {"slot": "meta-0"}, "seconds": 3600, "reason": "upgrade"},),
                problems=(*BODY_PROBLEMS, "too_many_silences"),
                act="alerts.silence",
            ),
            operation(
                "endSilence",
                "DELETE",
                "/api/v2/alerts/silences/{silenceId}",
                "End a silence",
                self.end_silence,
                answers={200: ("It ended; what is still on gets its event now.", "AlertSilence")},
                problems=("silence_unknown",),
                act="alerts.unsilence",
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with one page of alerts."""
        query = query_of(request)
        most = query["limit"]
        rows = await self._store.call(
            alerts.listed,
            is_on=None if query["state"] is None else query["state"] == "on",
            before=int(query["cursor"]) if query["cursor"] else _NEWEST,
            # one more: its presence means that another page follows
            most=most + 1,
        )
        following = str(rows[most - 1]["id"]) if len(rows) > most else None
        return JSONResponse(
            {"alerts": [_alert(row) for row in rows[:most]], "next": following}, headers={"Cache-Control": "no-store"}
        )

    async def silences(self, _: Request) -> Response:
        """Answer with the silences that last."""
        return JSONResponse({"silences": [_silence(row) for row in await self._store.call(alerts.silences)]})

    async def silence(self, request: Request) -> Response:
        """Silence alerts."""
        given = checked(await read_json(request), _SILENCE)
        labels = _checked(given)
        row = await self._store.call(
            recorded(act_of(request), alerts.silence, after=_silence_facts),
            name=given["name"] or "",
            labels=labels,
            reason=given["reason"],
            seconds=float(given["seconds"]),
            created_by=principal_of(request).name,
        )
        if row is None:
            raise Problem(
                "too_many_silences",
                f"There are {alerts.SILENCES_MOST} silences; end some of them.",
                limit=alerts.SILENCES_MOST,
            )
        return JSONResponse(_silence(row), status_code=201)

    async def end_silence(self, request: Request) -> Response:
        """End a silence."""
        silence_id = request.path_params["silenceId"]
        row = None
        # 18 digits fit PostgreSQL's bigint
        if silence_id.isascii() and silence_id.isdigit() and len(silence_id) <= 18:
            row = await self._store.call(recorded(act_of(request), alerts.end_silence), int(silence_id))
        if row is None:
            raise Problem("silence_unknown", "There is no silence with this id that lasts.")
        return JSONResponse(_silence(row))


def _checked(given: dict[str, Any]) -> dict[str, str]:
    """Return the labels. Raises `FieldsInvalid` for some that no alert has: they would silence nothing."""
    name, labels = given["name"], given["labels"] or {}
    rules = [RULES_BY_NAME[name]] if name else [*RULES_BY_NAME.values()]
    known = sorted({label for rule in rules for label in rule.measure.by})
    for label, value in labels.items():
        if label not in known:
            raise FieldsInvalid([(f"/labels/{label}", f"is no label of these alerts; they have: {', '.join(known)}")])
        if not isinstance(value, str) or not 0 < len(value) <= 100:
            raise FieldsInvalid([(f"/labels/{label}", "must be a text of at most 100 characters")])
    if len(labels) > _LABELS_MOST:
        raise FieldsInvalid([("/labels", f"must be at most {_LABELS_MOST}")])
    return labels


def _alert(row: Row) -> dict[str, Any]:
    rule = RULES_BY_NAME.get(row["name"])
    trouble = KINDS_OF_TROUBLE.get(rule.trouble) if rule is not None else None
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "state": "on" if row["ended_at"] is None else "ended",
        "severity": row["severity"],
        "summary": row["summary"],
        "labels": row["labels"],
        "value": row["value"],
        "host": row["host"],
        "firedAt": iso(row["fired_at"]),
        "endedAt": None if row["ended_at"] is None else iso(row["ended_at"]),
        "silenced": row["silenced"],
        # a row of an earlier version may have a rule that is gone
        "runbook": None if rule is None else rule.runbook,
        "trouble": None if trouble is None else trouble.code,
    }


def _silence(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"] or None,
        "labels": row["labels"],
        "reason": row["reason"],
        "until": iso(row["until"]),
        "createdBy": row["created_by"],
        "createdAt": iso(row["created_at"]),
    }


def _silence_facts(row: Row | None) -> dict[str, Any]:
    return {} if row is None else _silence(row)
