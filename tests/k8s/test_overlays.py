"""What the overlays hold: valid by Kubernetes' schemas and KubeRay's, and nothing named that is not there."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray._common.utils import import_attr
from ray.serve import Application
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from cluster.config.backends import VllmBackendConfig
from cluster.config.kubernetes import ray_service_patch
from cluster.config.loader import load
from cluster.config.schema import ClusterConfig
from cluster.grafana.manifests import DASHBOARDS, files
from cluster.planning.plan import plan
from cluster.serving.app import APP_NAME, application, build
from cluster.serving.startup import environment
from tests.k8s.conftest import ROOT, Manifest, pods

KUBERNETES = "1.32"
WITHOUT_SCHEMA = {"PodMonitor", "PrometheusRule"}  # the Prometheus operator's
BY_HAND = re.compile(r"kubectl create secret generic (\S+)")
MADE_BY_HAND = set(BY_HAND.findall((ROOT / "docs" / "operations.md").read_text()))
DIALECT = jsonschema.Draft202012Validator


def test_every_object_is_valid(objects: list[Manifest]) -> None:
    for each in objects:
        if each["kind"] not in {"RayService", *WITHOUT_SCHEMA}:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_every_pod_is_valid(service: Manifest) -> None:
    for name, template in pods(service).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_ray_service_is_what_kuberay_takes(service: Manifest, crds: Mapping[str, Manifest]) -> None:
    (version,) = [each for each in crds["RayService"]["spec"]["versions"] if each["name"] == "v1"]
    schema = _closed(version["schema"]["openAPIV3Schema"])
    errors = [f"{error.json_path}: {error.message}" for error in DIALECT(schema).iter_errors(service)]
    assert errors == []


def test_what_kuberay_does_not_know_is_found(service: Manifest, crds: Mapping[str, Manifest]) -> None:
    (version,) = [each for each in crds["RayService"]["spec"]["versions"] if each["name"] == "v1"]
    schema = _closed(version["schema"]["openAPIV3Schema"])
    wrong = {**service, "spec": {**service["spec"], "serveConfig": ""}}
    assert [error.json_path for error in DIALECT(schema).iter_errors(wrong)] == ["$.spec"]


def test_the_application_is_the_configurations(overlay: Path, service: Manifest) -> None:
    config = load(overlay / "fusion.yaml")
    assert (overlay / "application.yaml").read_text() == ray_service_patch(config), "run: make k8s"
    deployed = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (app,) = deployed.applications
    assert import_attr(app.import_path) is application
    assert ClusterConfig.model_validate(app.args) == config


def test_serve_builds_the_same_application_from_it(overlay: Path, service: Manifest) -> None:
    """By Serve's own way from an import path and arguments to deployments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what vLLM brings in
        import_module("deployments.vllm.deployment")
    (app,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    deployed = _deployments(call_user_app_builder_with_args_if_necessary(import_attr(app["import_path"]), app["args"]))
    assert deployed == _deployments(build(load(overlay / "fusion.yaml")))
    assert len(deployed) == (2 if "vllm" in str(list(deployed)) else 4)


def test_what_is_named_is_there(objects: list[Manifest], service: Manifest) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    there |= {("Secret", name) for name in MADE_BY_HAND}
    for kind, name in _named(objects):
        assert (kind, name) in there, f"{kind} {name} is named and is neither in the overlay nor made by hand"
    for template in pods(service).values():
        spec = template["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_ports_are_there_by_name(objects: list[Manifest], service: Manifest) -> None:
    for template in pods(service).values():
        for container in template["spec"]["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container[probe]["httpGet"]["port"] in ports
    every = {
        port["name"]
        for template in pods(service).values()
        for container in template["spec"]["containers"]
        for port in container["ports"]
    }
    for policy in (each for each in objects if each["kind"] == "NetworkPolicy"):
        if policy["metadata"]["labels"]["app.kubernetes.io/name"] == "fusion-cluster":
            assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", ())} <= every
    serves = yaml.safe_load(service["spec"]["serveConfigV2"])["http_options"]["port"]
    assert set(_ports(service, "serve")) == {serves}


def test_only_the_serve_port_is_open_to_all(objects: list[Manifest]) -> None:
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    open_ports = [
        [port["port"] for port in rule["ports"]]
        for policy in policies
        for rule in policy["spec"]["ingress"]
        if "from" not in rule
    ]
    assert open_ports == [["serve"]]


def test_every_selector_finds_its_pods(objects: list[Manifest], service: Manifest) -> None:
    labels = [template["metadata"]["labels"] for template in pods(service).values()]
    labels += [
        each["spec"]["template"]["metadata"]["labels"]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet")
    ]
    for each in objects:
        spec = each.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= found.items() for found in labels), each["metadata"]["name"]


def test_pods_run_without_privileges(service: Manifest, objects: list[Manifest]) -> None:
    specs = [template["spec"] for template in pods(service).values()]
    specs += [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "StatefulSet"]
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}


def test_pods_have_the_settings_that_serve_starts_with(service: Manifest) -> None:
    wanted = {name: value for name, value in environment(local=False).items() if name != "RAY_worker_niceness"}
    for template in pods(service).values():
        for container in template["spec"]["containers"]:
            env = {each["name"]: each.get("value") for each in container["env"]}
            assert wanted.items() <= env.items()


def test_images_are_pinned(objects: list[Manifest], service: Manifest) -> None:
    containers = [container for template in pods(service).values() for container in template["spec"]["containers"]]
    containers += [
        container
        for each in objects
        if each["kind"] == "StatefulSet"
        for container in each["spec"]["template"]["spec"]["containers"]
    ]
    for container in containers:
        assert re.fullmatch(r"[^:]+:[0-9][^:]*", container["image"]), container["image"]


def test_workers_have_the_gpus_that_an_engine_takes(overlay: Path, service: Manifest) -> None:
    groups = {group["groupName"]: group for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    engines = [
        backend
        for backend in load(overlay / "fusion.yaml").backends.values()
        if isinstance(backend, VllmBackendConfig) and backend.accelerator != "cpu"
    ]
    assert len(engines) == len(groups) - 1
    for engine in engines:
        group = groups[engine.accelerator.lower()]
        hosts = group.get("numOfHosts", 1)
        (container,) = group["template"]["spec"]["containers"]
        gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
        shards = engine.engine["tensor_parallel_size"] * engine.engine.get("pipeline_parallel_size", 1)
        assert hosts * gpus == shards
        assert engine.engine["tensor_parallel_size"] <= gpus, "a tensor's shards are on one node"
        assert (group["minReplicas"], group["maxReplicas"]) == (engine.replicas.min, engine.replicas.max)


def test_workers_have_what_a_plan_says_that_a_replica_takes(overlay: Path, service: Manifest) -> None:
    groups = {group["groupName"]: group for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    for deployment in plan(load(overlay / "fusion.yaml")).deployments:
        needs = deployment.replica
        group = groups[needs.gpu.lower() if needs.gpu else "io"]
        hosts = group.get("numOfHosts", 1)
        (container,) = group["template"]["spec"]["containers"]
        requests = container["resources"]["requests"]
        assert hosts == needs.nodes or not needs.gpus
        assert hosts * int(requests.get("nvidia.com/gpu", 0)) >= needs.gpus
        assert hosts * float(requests["cpu"]) >= needs.cpus
        assert hosts * int(requests["memory"].removesuffix("Gi")) >= needs.memory_gib


def test_dashboards_and_alerts_are_those_of_the_code() -> None:
    folder = ROOT / "k8s" / "components" / "monitoring"
    by_hand = {"kustomization.yaml", "network-policy.yaml", "pod-monitor.yaml"}
    rendered = {path.name: path.read_text() for path in folder.glob("*.yaml") if path.name not in by_hand}
    assert rendered == files(), "run: make dashboards"
    listed = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
    assert listed == {*rendered, *by_hand} - {"kustomization.yaml"}


def test_dashboards_are_where_a_sidecar_looks(overlay: Path, objects: list[Manifest]) -> None:
    found = [each for each in objects if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert len(found) == (0 if overlay.name == "cpu-demo" else len(DASHBOARDS))
    for each in found:
        ((name, text),) = each["data"].items()
        assert each["kind"] == "ConfigMap"
        assert f"{json.loads(text)['uid']}.json" == name


@pytest.mark.parametrize("name", ["redis", "monitoring"])
def test_production_has_what_a_demo_can_do_without(overlay: Path, objects: list[Manifest], name: str) -> None:
    kinds = {each["kind"] for each in objects}
    wanted = {"redis": "StatefulSet", "monitoring": "PodMonitor"}[name]
    assert (wanted in kinds) == (overlay.name != "cpu-demo")


def _deployments(app: Application) -> dict[str, tuple[Any, ...]]:
    """What each deployment is made of, as far as it can be compared."""
    return {
        deployment.name: (
            deployment.func_or_class.__qualname__,
            deployment._deployment_config.model_dump(),
            deployment._replica_config.ray_actor_options,
            deployment._replica_config.placement_group_bundles,
            [arg for arg in deployment.init_args if not isinstance(arg, dict)],
        )
        for deployment in build_app(app, name=APP_NAME).deployments
    }


def _ports(service: Manifest, name: str) -> Iterator[int]:
    for template in pods(service).values():
        for container in template["spec"]["containers"]:
            yield from (port["containerPort"] for port in container["ports"] if port["name"] == name)


def _named(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every object that is referred to, by kind and name."""
    if isinstance(value, list):
        for each in value:
            yield from _named(each, key)
    elif isinstance(value, dict):
        if key in ("secretRef", "secretKeyRef"):
            yield "Secret", value["name"]
        elif key in ("configMapRef", "configMapKeyRef", "configMap"):
            yield "ConfigMap", value["name"]
        elif key == "persistentVolumeClaim":
            yield "PersistentVolumeClaim", value["claimName"]
        elif key == "redisAddress":
            yield "Service", value
        for name, each in value.items():
            if name == "redisAddress":
                yield "Service", each.removeprefix("redis://").partition(":")[0]
            elif name == "serviceName":
                yield "Service", each
            yield from _named(each, name)


def _closed(schema: Any) -> Any:
    """The schema with keys that it does not know refused, as a server-side apply with strict validation does."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    if "properties" in schema and "additionalProperties" not in schema and schema.get("type") == "object":
        closed["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return closed
