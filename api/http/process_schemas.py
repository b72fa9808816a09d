"""Shapes of processes: their health and their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.shapes import (
    AT,
    AT_OR_NULL,
    COUNT,
    NUMBER,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    YES_NO,
    Schema,
    array,
    choice,
    closed_object,
    named_object,
)
from shared.troubles import TROUBLES, Impact

_DEPENDENCY: Final = named_object(
    "DependencyHealth", {"reachable": YES_NO, "askedAt": AT, "tookMs": NUMBER}, {"reason": TEXT}
)

_STATUSES: Final = ("healthy", "degraded", "down")
_TROUBLE: Final = named_object(
    "Trouble",
    {
        "code": choice("TroubleCode", *(row.code for row in TROUBLES)),
        "about": choice("TroubleAbout", "service", "process", "company", "connection"),
        "impact": choice("TroubleImpact", *(impact.value for impact in Impact)),
        "sentence": TEXT,
        "mend": TEXT,
        "sinceSeconds": NUMBER_OR_NULL,
        "process": TEXT_OR_NULL,
        "companyId": TEXT_OR_NULL,
        "phoneIndex": {"type": ["integer", "null"]},
    },
)
_SERVICE: Final = {"canAccept": YES_NO, "canSend": YES_NO}

_COUNT_OR_NULL: Final = {"type": ["integer", "null"]}
_SILENCE: Final = {
    "id": TEXT,
    "name": {**TEXT_OR_NULL, "description": "Of an alert; null: all."},
    "labels": {"type": "object", "additionalProperties": TEXT},
    "reason": TEXT,
    "until": AT,
    "createdBy": TEXT,
    "createdAt": AT,
}
PROCESS_SCHEMAS: Final[Mapping[str, Schema]] = {
    "SystemHealth": closed_object(
        {
            "status": choice("HealthStatus", *_STATUSES),
            **_SERVICE,
            "troubles": array(_TROUBLE),
            "troublesLeftOff": COUNT,
            "companies": array(
                named_object(
                    "UnwellCompany",
                    {"companyId": TEXT, "status": choice("HealthStatus", *_STATUSES), "troubles": COUNT},
                )
            ),
            "at": AT,
            "answeredBy": TEXT,
            "database": _DEPENDENCY,
            "redis": _DEPENDENCY,
            "orchestrator": named_object(
                "OrchestratorHealth",
                {
                    "state": choice("OrchestratorState", "running", "stopping", "stale", "missing"),
                    "at": AT_OR_NULL,
                    "ageSeconds": NUMBER_OR_NULL,
                },
            ),
            "processes": array(
                named_object(
                    "InstanceHealth",
                    {
                        "process": TEXT,
                        "instance": COUNT,
                        "status": choice("InstanceStatus", "healthy", "degraded", "down", "stopped", "unknown"),
                        "sources": array(choice("HealthSource", "orchestrator", "heartbeat")),
                        "state": TEXT_OR_NULL,
                        "reason": TEXT_OR_NULL,
                        "pid": {"type": ["integer", "null"]},
                        "incarnation": TEXT_OR_NULL,
                        "host": TEXT_OR_NULL,
                        "uptimeSeconds": NUMBER_OR_NULL,
                        "memoryMb": NUMBER_OR_NULL,
                        "memoryLimitMb": NUMBER_OR_NULL,
                        "stateSeconds": NUMBER_OR_NULL,
                        "restarts": {"type": ["integer", "null"]},
                        "errorCount": {"type": ["integer", "null"]},
                        "lastError": TEXT_OR_NULL,
                        "lastHeartbeatAt": AT_OR_NULL,
                        "silentSeconds": NUMBER_OR_NULL,
                    },
                )
            ),
            "sessions": {
                "type": ["object", "null"],
                "description": "Browser sessions by state, as proved lately; null while the database is away.",
                "additionalProperties": COUNT,
            },
        }
    ),
    "ServiceHealth": closed_object(
        {
            "status": choice("ServiceStatus", "healthy", "degraded", "unhealthy"),
            **_SERVICE,
            "checks": {
                "type": "object",
                "additionalProperties": choice("ServiceCheck", "healthy", "unhealthy"),
            },
        }
    ),
    "CompanyHealth": closed_object(
        {
            "companyId": TEXT,
            "status": choice("HealthStatus", *_STATUSES),
            "at": AT,
            "troubles": array(_TROUBLE),
            "connections": array(
                named_object(
                    "ConnectionHealth",
                    {
                        "phoneIndex": COUNT,
                        "connectionType": TEXT,
                        "status": choice("HealthStatus", *_STATUSES),
                        "troubles": array(_TROUBLE),
                    },
                )
            ),
            "next": TEXT_OR_NULL,
        }
    ),
    "Alerts": closed_object(
        {
            "alerts": array(
                named_object(
                    "Alert",
                    {
                        "id": TEXT,
                        "name": TEXT,
                        "state": choice("AlertState", "on", "ended"),
                        "severity": choice("AlertSeverity", "critical", "warning"),
                        "summary": TEXT,
                        "labels": {"type": "object", "additionalProperties": TEXT},
                        "value": NUMBER,
                        "host": TEXT,
                        "firedAt": AT,
                        "endedAt": AT_OR_NULL,
                        "silenced": YES_NO,
                        "runbook": TEXT_OR_NULL,
                        "trouble": TEXT_OR_NULL,
                    },
                )
            ),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "AlertSilence": closed_object(_SILENCE),
    "AlertSilences": closed_object(
        {"silences": {"type": "array", "items": {"$ref": "#/components/schemas/AlertSilence"}}}
    ),
    "ProcessMetrics": closed_object(
        {
            "process": TEXT,
            "sessionsActive": {**_COUNT_OR_NULL, "description": "Browser sessions that are ready."},
            "botsActive": {**_COUNT_OR_NULL, "description": "Connections of Meta's kinds that can send."},
            "messagesSent": {**_COUNT_OR_NULL, "description": "Since each process started, as all counts."},
            "messagesReceived": _COUNT_OR_NULL,
            "errors": {**_COUNT_OR_NULL, "description": "Unexpected errors."},
            "apiErrors": {**_COUNT_OR_NULL, "description": "Refusals of providers, and calls without an answer."},
            "avgResponseTime": {**NUMBER_OR_NULL, "description": "Seconds of a send; of a request in kind api."},
            "instances": array(
                named_object(
                    "InstanceMetrics",
                    {"instance": COUNT, "at": AT, "metrics": {"type": "object", "additionalProperties": NUMBER}},
                )
            ),
        }
    ),
    # its form is described by OpenAPI itself
    "OpenApiDocument": {"type": "object", "required": ["openapi", "info", "paths"]},
    # of our own page, which comes with the API: its parts may change
    "DashboardData": {"type": "object", "required": ["health", "queue", "connections", "nextConnections", "events"]},
    "Liveness": closed_object({"live": YES_NO, "stalled": array(TEXT)}),
    "Readiness": closed_object({"ready": YES_NO, "missing": {"type": "object", "additionalProperties": TEXT}}),
    # open: each kind of process adds facts of its own
    "ProcessHealth": {
        "type": "object",
        "required": ["process", "instance", "status", "state", "missing", "pid", "uptimeSeconds", "memoryMb"],
    },
}
