"""What is shipped to run Bulkhead elsewhere: valid for Kubernetes, true to the registry, and closed by default."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from script import kubernetes
from shared.kinds import KINDS, ProcessKind, admin_port, kind_named
from shared.settings import variables
from tests.support import environment

DEPLOY = environment.REPOSITORY / "deploy"
BASE, EXAMPLE = DEPLOY / "kubernetes" / "base", DEPLOY / "kubernetes" / "example"
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""Versions of Kubernetes: autoscaling/v2 and failure policies of jobs are in the oldest one."""
WORKLOADS = ("Deployment", "StatefulSet")
IN_CLUSTER = [row for row in KINDS if row.needed not in kubernetes.NOT_HERE]
KNOWN = {name for row in KINDS for name in (variable.name for variable in row.variables)} | set(variables(KINDS))


def documents(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name}:{number}", document)
        for path in sorted(folder.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for number, document in enumerate(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    ]


EVERY = [*documents(BASE), *documents(EXAMPLE)]


def of(kind: str, row: ProcessKind | None = None) -> list[dict[str, Any]]:
    return [
        document
        for _, document in EVERY
        if document["kind"] == kind and (row is None or document["metadata"]["name"] == f"bulkhead-{row.name}")
    ]


def workload(row: ProcessKind) -> dict[str, Any]:
    (found,) = [document for kind in WORKLOADS for document in of(kind, row)]
    return found


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in (*WORKLOADS, "Job"):
        for document in of(kind):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def own_port(row: ProcessKind) -> int:
    return admin_port(int(variables(())["ADMIN_PORT"].default), row, 0)


def container(row: ProcessKind) -> dict[str, Any]:
    (found,) = workload(row)["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(("name", "document"), EVERY, ids=[name for name, _ in EVERY])
def test_kubernetes_takes_each_object(name: str, document: Mapping[str, Any], version: str) -> None:
    kubernetes_validate.validate(dict(document), version, strict=True)


def test_a_wrong_object_would_be_noticed() -> None:
    wrong = {**of("Deployment")[0], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


class TestKustomize:
    @pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "example"])
    def test_every_file_is_listed_and_every_listed_one_is_there(self, folder: Path) -> None:
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
        assert all((folder / name).exists() for name in listed)
        there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert {name for name in listed if name.endswith(".yaml")} == there

    def test_patches_name_what_is_there(self) -> None:
        kustomization = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text(encoding="utf-8"))
        (config,) = of("ConfigMap")
        for patch in kustomization["patches"]:
            assert (patch["target"]["kind"], patch["target"]["name"]) == ("ConfigMap", config["metadata"]["name"])
            for step in yaml.safe_load(patch["patch"]):
                assert step["path"].removeprefix("/data/") in config["data"]

    def test_the_example_names_every_secret_that_is_needed(self) -> None:
        names = {line.partition("=")[0] for line in (EXAMPLE / "secrets.env.example").read_text().splitlines()}
        asked = {
            entry["name"]: entry["valueFrom"]["secretKeyRef"].get("optional", False)
            for row in IN_CLUSTER
            for entry in container(row)["env"]
            if "secretKeyRef" in entry.get("valueFrom", {})
        }
        assert {name for name, optional in asked.items() if not optional} <= names <= asked.keys()

    def test_where_kubectl_is_installed_it_renders_both(self, tmp_path: Path) -> None:
        kubectl = shutil.which("kubectl")
        folder = tmp_path / "kubernetes"
        shutil.copytree(DEPLOY / "kubernetes", folder)
        shutil.copy(folder / "example" / "secrets.env.example", folder / "example" / "secrets.env")
        for name in ("base", "example") if kubectl else ():
            made = subprocess.run(
                [str(kubectl), "kustomize", str(folder / name)], capture_output=True, text=True, check=True, timeout=60
            )
            rendered = list(yaml.safe_load_all(made.stdout))
            for document in rendered:
                kubernetes_validate.validate(document, NEWEST, strict=True)
            assert "image: registry.example/bulkhead:0.1.0" in made.stdout
            assert len(rendered) >= len(documents(BASE))
        assert (folder / "base" / "kinds.yaml").exists()


class TestTrueToTheRegistry:
    """Compared with the rows themselves, and not by the generator's own words."""

    def test_each_kind_has_a_workload_and_no_other_has(self) -> None:
        names = {document["metadata"]["name"] for kind in WORKLOADS for document in of(kind)}
        assert names == {f"bulkhead-{row.name}" for row in IN_CLUSTER}
        assert kind_named("sandbox") not in IN_CLUSTER and kind_named("postgres") not in IN_CLUSTER

    @pytest.mark.parametrize("row", IN_CLUSTER, ids=lambda row: str(row.name))
    def test_it_is_run_as_its_row_says(self, row: ProcessKind) -> None:
        spec = workload(row)["spec"]
        pod, one = spec["template"]["spec"], container(row)
        assert spec["replicas"] == row.instances
        assert one["args"] == ["python", row.entry] and (environment.REPOSITORY / row.entry).exists()
        assert pod["terminationGracePeriodSeconds"] > row.drain_s
        assert one["resources"]["limits"]["memory"] == f"{row.memory_hard_mb}Mi"
        port = own_port(row)
        assert [found["containerPort"] for found in one["ports"]] == [port, *([row.port] if row.port else [])]
        assert spec["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port)
        paths = {name: one[name]["exec"]["command"][-1] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert paths == {
            "startupProbe": f"http://127.0.0.1:{port}/livez",
            "livenessProbe": f"http://127.0.0.1:{port}/livez",
            "readinessProbe": f"http://127.0.0.1:{port}/readyz",
        }
        startup = one["startupProbe"]
        assert startup["failureThreshold"] * startup["periodSeconds"] >= row.startup_s

    @pytest.mark.parametrize("row", IN_CLUSTER, ids=lambda row: str(row.name))
    def test_it_gets_its_own_secrets_and_no_other(self, row: ProcessKind) -> None:
        secret = {variable.name for variable in variables(()).values() if variable.secret}
        own = {name.upper() for name in row.secrets} | {variable.name for variable in row.variables if variable.secret}
        given = {entry["name"] for entry in container(row)["env"] if "secretKeyRef" in entry.get("valueFrom", {})}
        assert given <= own
        # what a row lists as secret and is one arrives; tokens of the sandbox do not exist here
        assert {name for name in own & secret if not name.startswith("SANDBOX_")} <= given | {"META_ACCESS_TOKEN"}

    @pytest.mark.parametrize("row", IN_CLUSTER, ids=lambda row: str(row.name))
    def test_each_may_be_moved_one_at_a_time_and_grows_where_its_row_allows(self, row: ProcessKind) -> None:
        (budget,) = of("PodDisruptionBudget", row)
        assert budget["spec"]["maxUnavailable"] == 1
        scalers = of("HorizontalPodAutoscaler", row)
        assert [scaler["spec"]["maxReplicas"] for scaler in scalers] == (
            [row.instances_most] if row.instances_most > 1 else []
        )
        by_age = [metric for scaler in scalers for metric in scaler["spec"]["metrics"] if metric["type"] == "External"]
        waits = row.job or row.name in ("ai", "index")
        assert len(by_age) == bool(waits and scalers)
        if row.instances_most == 1 and workload(row)["kind"] == "Deployment":
            assert workload(row)["spec"]["strategy"] == {"type": "Recreate"}, "never two at once"

    def test_sessions_keep_their_profiles(self) -> None:
        stateful = workload(kind_named("webdriver"))
        assert stateful["kind"] == "StatefulSet"
        assert [claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]] == ["home"]

    def test_the_metric_of_the_autoscaler_is_one_of_ours(self) -> None:
        names = {
            metric["external"]["metric"]["name"]
            for scaler in of("HorizontalPodAutoscaler")
            for metric in scaler["spec"]["metrics"]
            if metric["type"] == "External"
        }
        figures = (environment.REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
        assert names and all(f"`{name}`" in figures for name in names)

    def test_settings_of_all_are_known_and_no_secrets(self) -> None:
        (config,) = of("ConfigMap")
        # what the autoscaler goes by is read where Prometheus can reach it
        assert config["data"]["ADMIN_ADDRESS"] == "0.0.0.0"
        assert config["data"].keys() <= KNOWN
        assert not [name for name in config["data"] if variables(KINDS)[name].secret]


class TestClosed:
    @pytest.mark.parametrize(("name", "pod"), list(pods()), ids=[name for name, _ in pods()])
    def test_no_pod_may_more_than_it_needs(self, name: str, pod: Mapping[str, Any]) -> None:
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0
        assert security["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
        for one in pod["containers"]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert one["resources"]["limits"]["memory"]

    def test_each_pod_has_a_network_policy_and_only_public_ports_are_reached(self) -> None:
        policies = {
            json.dumps(policy["spec"]["podSelector"]["matchLabels"], sort_keys=True): policy["spec"]
            for policy in of("NetworkPolicy")
        }
        for kind in (*WORKLOADS, "Job"):
            for document in of(kind):
                labels = json.dumps(document["spec"]["template"]["metadata"]["labels"], sort_keys=True)
                assert policies[labels]["policyTypes"] == ["Ingress", "Egress"]
        opened = {
            (port["port"], *source["namespaceSelector"]["matchLabels"])
            for spec in policies.values()
            for rule in spec.get("ingress", [])
            for port in rule["ports"]
            for source in rule["from"]
        }
        assert opened == {(row.port, "bulkhead/ingress") for row in IN_CLUSTER if row.port} | {
            (own_port(row), "bulkhead/monitoring") for row in IN_CLUSTER
        }


class TestImage:
    TEXT = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

    def test_it_runs_as_the_user_of_the_manifests(self) -> None:
        (user,) = re.findall(r"^USER (\d+):(\d+)$", self.TEXT, re.MULTILINE)
        assert {
            (str(pod["securityContext"]["runAsUser"]), str(pod["securityContext"]["runAsGroup"])) for _, pod in pods()
        } == {user}

    def test_ports_and_home_are_those_of_the_program(self) -> None:
        (exposed,) = re.findall(r"^EXPOSE (.*)$", self.TEXT, re.MULTILINE)
        assert {int(port) for port in exposed.split()} == {row.port for row in IN_CLUSTER if row.port}
        assert f":-{admin_port(int(variables(())['ADMIN_PORT'].default), kind_named('api'), 0)}}}/readyz" in self.TEXT
        mounts = {mount["mountPath"] for _, pod in pods() for one in pod["containers"] for mount in one["volumeMounts"]}
        assert kubernetes.HOME in mounts and f"BULKHEAD_HOME={kubernetes.HOME}" in self.TEXT

    def test_what_it_copies_is_there_and_secrets_are_left_out(self) -> None:
        assert "COPY requirements.lock" in self.TEXT and (environment.REPOSITORY / "requirements.lock").exists()
        ignored = (environment.REPOSITORY / ".dockerignore").read_text().splitlines()
        assert {".git", ".venv", "var", ".env", "deploy/kubernetes/**/secrets.env"} <= set(ignored)

    def test_chromiums_sandbox_may_make_name_spaces_and_nothing_of_the_kernel_changes(self) -> None:
        profile = json.loads((DEPLOY / "seccomp" / "chromium.json").read_text())
        (denied,) = [set(rule["names"]) for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO"]
        assert {"mount", "bpf", "kexec_load", "init_module", "keyctl", "io_uring_setup"} <= denied
        assert not {"clone", "clone3", "unshare", "setns", "chroot", "seccomp"} & denied


class TestCompose:
    SERVICES = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))["services"]

    def test_servers_are_waited_for_and_bulkhead_is_closed(self) -> None:
        ours = self.SERVICES["bulkhead"]
        assert all("healthcheck" in self.SERVICES[name] for name in ours["depends_on"])
        assert ours["cap_drop"] == ["ALL"] and ours["read_only"] is True
        assert all(port.startswith("127.0.0.1:") for port in ours["ports"])
        assert "pgvector" in self.SERVICES["postgres"]["image"]

    def test_its_settings_are_known_and_its_passwords_are_asked_for(self) -> None:
        text = (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")
        assert self.SERVICES["bulkhead"]["environment"].keys() <= KNOWN
        named = {line.partition("=")[0] for line in (DEPLOY / "compose" / ".env.example").read_text().splitlines()}
        assert set(re.findall(r"\$\{([A-Z0-9_]+):\?", text)) <= named


class TestProxies:
    @pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
    def test_webhooks_go_to_meta_and_all_else_to_the_api(self, name: str) -> None:
        text = (DEPLOY / "proxy" / name).read_text(encoding="utf-8")
        assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) == {"3000", "3002"}
        assert "/api/meta/webhook" in text and "/webhooks/" in text

    def test_where_nginx_is_installed_it_takes_the_file(self, tmp_path: Path) -> None:
        text = (DEPLOY / "proxy" / "nginx.conf").read_text(encoding="utf-8")
        assert text.count("{") == text.count("}")
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "key"),
                 "-out", str(tmp_path / "certificate"), "-subj", "/CN=x"], check=True, capture_output=True
            )  # fmt: skip
            own = text.replace("/etc/ssl/bulkhead/fullchain.pem", str(tmp_path / "certificate"))
            (tmp_path / "nginx.conf").write_text(
                f"pid {tmp_path}/pid;\n" + own.replace("/etc/ssl/bulkhead/privkey.pem", str(tmp_path / "key"))
            )
            said = subprocess.run(
                [program, "-t", "-e", str(tmp_path / "errors"), "-c", str(tmp_path / "nginx.conf")],
                capture_output=True,
                text=True,
                check=False,
            )
            assert said.returncode == 0, said.stderr
