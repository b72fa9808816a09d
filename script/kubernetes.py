"""The manifests of the process kinds for Kubernetes: one workload for each row of `shared/kinds.py`, written into
`deploy/kubernetes/base/kinds.yaml` by script/docs, so that manifests and registry cannot drift apart.

Without an orchestrator: Kubernetes starts, probes, drains and restarts the processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from shared.kinds import KINDS, ProcessKind, admin_port
from shared.settings import variables

PATH: Final = "deploy/kubernetes/base/kinds.yaml"
NOT_HERE: Final = frozenset({"sandbox", "embedded_postgres", "embedded_redis", "local_model"})
"""Needs of kinds that have no place in a cluster: stand-ins for providers and for servers that the cluster has."""
STATEFUL: Final = frozenset({"webdriver"})
"""Kinds with data of their own that is not in PostgreSQL: profiles of browsers."""
HOME: Final = "/var/lib/bulkhead"
SECRET: Final = "bulkhead"  # noqa: S105 # the name of the object
IMAGE: Final = "bulkhead"
_CONFIG: Final = "bulkhead"
_USER: Final = 10001
"""User id of the image (deploy/Dockerfile)."""
_OLDEST: Final = {"ai": "bulkhead_turns_oldest_seconds", "index": "bulkhead_documents_oldest_seconds"}
"""Figures of how long the oldest work of a kind has waited that has no queue of messages."""
_PROBE_S: Final = 5
"""Seconds between two probes."""
_STOP_S: Final = 10
"""Seconds that a pod gets beyond the time to drain: for closing, and for its endpoint to leave the Services."""
_HEADING: Final = (
    "# Written by script/docs from shared/kinds.py (script/kubernetes.py); changes belong there or into an overlay.\n"
)


def kinds() -> list[ProcessKind]:
    """Return the rows that run in a cluster."""
    return [row for row in KINDS if row.needed not in NOT_HERE]


def manifests() -> str:
    """Return the file's text."""
    documents = [document for row in kinds() for document in of_kind(row)]
    return _HEADING + "---\n".join(yaml.safe_dump(one, sort_keys=False, width=140) for one in documents)


def of_kind(row: ProcessKind) -> Iterator[dict[str, Any]]:
    """Yield the objects of one kind."""
    yield _workload(row)
    if row.port or row.name in STATEFUL:
        yield _service(row)
    yield {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(row),
        # one instance at a time: a single one may be moved, since messages wait for it
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels(row)}},
    }
    if row.instances_most > 1:
        yield _autoscaler(row)
    yield _network_policy(row)


def _labels(row: ProcessKind) -> dict[str, str]:
    return {"app.kubernetes.io/name": "bulkhead", "app.kubernetes.io/component": row.name}


def _own_port(row: ProcessKind) -> int:
    """Return the port of the kind's own endpoint: probes and figures."""
    return admin_port(int(variables(())["ADMIN_PORT"].default), row, 0)


def _scraped(row: ProcessKind) -> dict[str, str]:
    # the words by which Prometheus' usual configuration for pods finds what to read
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(_own_port(row)),
        "prometheus.io/path": "/metrics",
    }


def _metadata(row: ProcessKind) -> dict[str, Any]:
    return {"name": f"bulkhead-{row.name}", "labels": _labels(row)}


def _workload(row: ProcessKind) -> dict[str, Any]:
    stateful = row.name in STATEFUL
    spec: dict[str, Any] = {
        "replicas": row.instances,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": _labels(row)},
        "template": {"metadata": {"labels": _labels(row), "annotations": _scraped(row)}, "spec": _pod(row)},
    }
    if stateful:
        spec |= {
            "serviceName": f"bulkhead-{row.name}",
            # the slot's pod is gone before the next one starts: a session runs once
            "podManagementPolicy": "OrderedReady",
            "volumeClaimTemplates": [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "home"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}},
                }
            ],
        }
    else:
        # a new pod is ready before an old one drains; of a kind with one instance, never two
        spec["strategy"] = (
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
            if row.instances_most > 1
            else {"type": "Recreate"}
        )
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet" if stateful else "Deployment",
        "metadata": _metadata(row),
        "spec": spec,
    }


def _pod(row: ProcessKind) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    if row.name not in STATEFUL:
        # outlives the container, not the pod: what was in flight is read again after a crash
        volumes.append({"name": "home", "emptyDir": {}})
    if row.extra == "webdriver":
        # Chromium's shared memory; 64 MB are the container's default
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}})
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # the time to drain, and for what follows it
        "terminationGracePeriodSeconds": math.ceil(row.drain_s) + _STOP_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": _seccomp(row),
        },
        "containers": [_container(row)],
        "volumes": volumes,
    }
    if row.instances > 1:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _labels(row)},
            }
        ]
    return pod


def _seccomp(row: ProcessKind) -> dict[str, str]:
    # Chromium's sandbox makes user namespaces, which the runtime's default profile forbids
    if row.extra == "webdriver":
        return {"type": "Localhost", "localhostProfile": "profiles/bulkhead-chromium.json"}
    return {"type": "RuntimeDefault"}


def _container(row: ProcessKind) -> dict[str, Any]:
    mounts = [{"name": "home", "mountPath": HOME}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if row.extra == "webdriver":
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    container: dict[str, Any] = {
        "name": row.name,
        "image": IMAGE,
        "args": ["python", row.entry],
        "env": list(_environment(row)),
        "envFrom": [{"configMapRef": {"name": _CONFIG}}],
        "resources": _resources(row),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe(row, "livez", failures=math.ceil(row.startup_s / _PROBE_S) + 1),
        "livenessProbe": _probe(row, "livez", failures=3),
        "readinessProbe": _probe(row, "readyz", failures=2),
        "volumeMounts": mounts,
    }
    container["ports"] = [{"name": "own", "containerPort": _own_port(row)}]
    if row.port:
        container["ports"].append({"name": "http", "containerPort": row.port})
        # The endpoint leaves the Services while TERM is not yet sent: no connection is refused.
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    return container


def _environment(row: ProcessKind) -> Iterator[dict[str, Any]]:
    """Yield the environment of a process of the kind: of the secrets, those of its row alone."""
    # the pod's name is the host's: two pods are two hosts, each with slot 0
    yield {"name": "BULKHEAD_HOST", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    yield {"name": "BULKHEAD_HOME", "value": HOME}
    yield {"name": "PROCESS_NAME", "value": row.name}
    names = variables(())
    fields = {one.name for one in names.values() if one.secret}
    secrets = [name.upper() for name in row.secrets if name.upper() in fields or name.upper() == "API_KEY"]
    for name in (*secrets, *(variable.name for variable in row.variables if variable.secret)):
        needed = name in ("DATABASE_URL", "REDIS_URL", "SECRET_ENCRYPTION_KEY", "API_KEY")
        reference: dict[str, Any] = {"name": SECRET, "key": name}
        yield {"name": name, "valueFrom": {"secretKeyRef": reference if needed else reference | {"optional": True}}}


def _resources(row: ProcessKind) -> dict[str, Any]:
    # The limit stands above the row's: there is no orchestrator that would replace a process at its own.
    memory = row.memory_hard_mb or 512
    return {
        "requests": {"cpu": "250m", "memory": f"{(row.memory_soft_mb or memory) // 2}Mi"},
        "limits": {"memory": f"{memory}Mi"},
    }


def _probe(row: ProcessKind, path: str, *, failures: int) -> dict[str, Any]:
    # Asked from inside: the node is none of those that the network policy lets in.
    command = ["curl", "-fsS", "-o", "/dev/null", "-m", "4", f"http://127.0.0.1:{_own_port(row)}/{path}"]
    return {
        "exec": {"command": command},
        "periodSeconds": _PROBE_S,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _service(row: ProcessKind) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "selector": _labels(row),
        "ports": [{"name": "http", "port": row.port, "targetPort": "http"}],
    }
    if row.name in STATEFUL:
        spec["clusterIP"] = "None"
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(row), "spec": spec}


def _autoscaler(row: ProcessKind) -> dict[str, Any]:
    # What waits is the measure of a kind with a queue; its CPU says nothing while it waits for the network.
    metrics: list[dict[str, Any]] = [_by_cpu()]
    if row.job:
        metrics.insert(0, _by_age("bulkhead_backlog_oldest_seconds", {"queue": row.name}))
    elif row.name in _OLDEST:
        metrics.insert(0, _by_age(_OLDEST[row.name], {}))
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(row),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"bulkhead-{row.name}"},
            "minReplicas": row.instances,
            "maxReplicas": row.instances_most,
            "metrics": metrics,
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 30, "policies": [_step(2, 60)]},
                "scaleDown": {"stabilizationWindowSeconds": 600, "policies": [_step(1, 300)]},
            },
        },
    }


def _step(pods: int, seconds: int) -> dict[str, Any]:
    return {"type": "Pods", "value": pods, "periodSeconds": seconds}


def _by_cpu() -> dict[str, Any]:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 250}},
    }


def _by_age(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    # of docs/metrics.md, through a Prometheus adapter
    metric = {"name": name, **({"selector": {"matchLabels": dict(labels)}} if labels else {})}
    return {
        "type": "External",
        "external": {
            "metric": metric,
            "target": {"type": "Value", "value": "10"},
        },
    }


def _calls_outside(row: ProcessKind) -> bool:
    """Whether the kind calls providers, subscribers, object storage or another service by HTTPS."""
    return bool({"graph_base_url", "media_s3_url"} & set(row.settings)) or any(
        "https" in variable.schemes for variable in row.variables
    )


def _network_policy(row: ProcessKind) -> dict[str, Any]:
    """Deny all but what the kind needs. Where PostgreSQL, Redis and the broker are, an overlay says."""
    tcp = [5432]
    if {"redis_url"} & set(row.secrets):
        tcp.append(6379)
    if any(variable.name == "AMQP_URL" for variable in row.variables):
        tcp += [5671, 5672]
    egress: list[dict[str, Any]] = [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"ports": [{"port": port, "protocol": "TCP"} for port in tcp]},
    ]
    if _calls_outside(row):
        egress.append({"ports": [{"port": 443, "protocol": "TCP"}]})
    # Prometheus, in a namespace with this label, and nothing else: the endpoint has no authentication
    monitoring = {"namespaceSelector": {"matchLabels": {"bulkhead/monitoring": "true"}}}
    ingress: list[dict[str, Any]] = [
        {"from": [monitoring], "ports": [{"port": _own_port(row), "protocol": "TCP"}]},
    ]
    if row.port:
        # the namespace of the ingress controller carries this label
        source = {"namespaceSelector": {"matchLabels": {"bulkhead/ingress": "true"}}}
        ingress.append({"from": [source], "ports": [{"port": row.port, "protocol": "TCP"}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(row),
        "spec": {
            "podSelector": {"matchLabels": _labels(row)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }
