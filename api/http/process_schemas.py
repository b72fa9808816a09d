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
from shared.diagnosis import CheckResult
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
_RAW_EVENT: Final = {
    "id": TEXT,
    "source": TEXT,
    "receivedAt": AT,
    "processedAt": AT_OR_NULL,
    "attempts": COUNT,
    "outcome": {**TEXT_OR_NULL, "description": "What was not understood, or why it failed; null: nothing."},
    "bytes": COUNT,
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
                    {
                        "host": TEXT_OR_NULL,
                        "instance": COUNT,
                        "at": AT,
                        "metrics": {"type": "object", "additionalProperties": NUMBER},
                    },
                )
            ),
        }
    ),
    # its form is described by OpenAPI itself
    "OpenApiDocument": {"type": "object", "required": ["openapi", "info", "paths"]},
    "ProcessesAsked": closed_object(
        {
            "slots": {
                "type": "object",
                "description": "The slots that are meant, each with the incarnation that it had before.",
                "additionalProperties": TEXT,
            }
        }
    ),
    "ProcessLog": closed_object({"process": TEXT, "stream": choice("LogStream", "err", "out"), "lines": array(TEXT)}),
    "Doctor": closed_object(
        {
            "host": TEXT,
            "state": {
                **choice("DoctorState", "never", "running", "done", "failed"),
                "description": "`failed`: the checks themselves did not come to an end; `problem` says why.",
            },
            "startedAt": AT_OR_NULL,
            "finishedAt": AT_OR_NULL,
            "problem": TEXT_OR_NULL,
            "checks": {
                **array(
                    named_object(
                        "DoctorCheck",
                        {
                            "check": TEXT,
                            "result": choice("CheckResult", *(result.value for result in CheckResult)),
                            "finding": TEXT,
                            "mend": {**TEXT, "description": "What to do; empty when nothing is."},
                        },
                    )
                ),
                "description": "Of the last run that came to an end.",
            },
        }
    ),
    "ProcessHistory": closed_object(
        {
            "since": AT,
            "until": AT,
            "stepSeconds": COUNT,
            "slots": array(
                named_object(
                    "SlotHistory",
                    {
                        "slot": TEXT,
                        "states": {
                            **array(named_object("SlotInterval", {"state": TEXT, "from": AT, "until": AT})),
                            "description": "Empty: nothing changed. Before the first one nothing is known.",
                        },
                        "exits": {
                            **array(named_object("SlotExit", {"at": AT, "event": TEXT, "reason": TEXT_OR_NULL})),
                            "description": "What ended without being asked to, and what did not start; newest first.",
                        },
                        "memoryMb": array(NUMBER_OR_NULL),
                        "errors": array(_COUNT_OR_NULL),
                        "sent": array(_COUNT_OR_NULL),
                        "received": array(_COUNT_OR_NULL),
                    },
                )
            ),
            "queues": array(
                named_object(
                    "QueueHistory",
                    {"queue": TEXT, "waiting": array(NUMBER_OR_NULL), "oldestSeconds": array(NUMBER_OR_NULL)},
                )
            ),
        }
    ),
    "RawEvents": closed_object(
        {
            "events": array(named_object("RawEventEntry", _RAW_EVENT)),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "RawEvent": closed_object({**_RAW_EVENT, "body": {"type": "string", "description": "As text, as it came."}}),
    "RawEventsReplayed": closed_object(
        {"replayed": COUNT, "next": {**TEXT_OR_NULL, "description": "`before` of the next request; null: done."}}
    ),
    "Queues": closed_object(
        {
            "queues": array(
                named_object("QueueDepth", {"process": TEXT, "state": TEXT, "messages": COUNT, "oldestSeconds": NUMBER})
            ),
            "connections": {
                **array(
                    named_object(
                        "WaitingConnection",
                        {
                            "companyId": TEXT,
                            "phoneIndex": COUNT,
                            "connectionType": TEXT,
                            "process": TEXT,
                            "paused": YES_NO,
                            "due": COUNT,
                            "oldestSeconds": NUMBER,
                            "held": COUNT,
                            "dead": {**COUNT, "description": "Failed for good in the last hour."},
                        },
                    )
                ),
                "description": "Those that have waited longest first.",
            },
        }
    ),
    "AllConnections": closed_object(
        {
            "connections": array(
                named_object(
                    "ConnectionOverview",
                    {
                        "companyId": TEXT,
                        "phoneIndex": COUNT,
                        "connectionType": TEXT,
                        "name": {**TEXT_OR_NULL, "description": "The option `name`."},
                        "process": TEXT,
                        "status": TEXT,
                        "statusReason": TEXT_OR_NULL,
                        "desired": TEXT,
                        "state": TEXT,
                        "detail": TEXT_OR_NULL,
                        "account": TEXT_OR_NULL,
                        "provedAt": AT_OR_NULL,
                        "observedAt": AT_OR_NULL,
                        "browser": {"type": ["object", "null"], "description": "As of a session."},
                        "warning": TEXT_OR_NULL,
                        "quality": TEXT_OR_NULL,
                        "tier": TEXT_OR_NULL,
                        "checkedAt": AT_OR_NULL,
                    },
                )
            ),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "Changes": closed_object(
        {
            "changes": array(
                named_object(
                    "Change",
                    {
                        "id": TEXT,
                        "at": AT,
                        "type": {"type": "string", "description": "For example `process.ready`."},
                        "companyId": TEXT_OR_NULL,
                        "phoneIndex": {"type": ["integer", "null"]},
                        "process": TEXT_OR_NULL,
                        "state": TEXT_OR_NULL,
                        "detail": TEXT_OR_NULL,
                        "key": {**TEXT_OR_NULL, "description": "Of the audit: name of the key that did it."},
                        "facts": {"type": ["object", "null"], "description": "Of a process: by event."},
                    },
                )
            ),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "Liveness": closed_object({"live": YES_NO, "stalled": array(TEXT)}),
    "Readiness": closed_object({"ready": YES_NO, "missing": {"type": "object", "additionalProperties": TEXT}}),
    # open: each kind of process adds facts of its own
    "ProcessHealth": {
        "type": "object",
        "required": ["process", "instance", "status", "state", "missing", "pid", "uptimeSeconds", "memoryMb"],
    },
}
