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
    "ProcessMetrics": closed_object(
        {
            "process": TEXT,
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
