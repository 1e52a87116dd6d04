"""How many of each there are, and that what they need is there when they are many."""

import ast
import math
from typing import Any

import yaml

from tests.k8s.rendering import DEPLOYMENTS, K8S, OVERLAYS, ROOT, base_with, main_container, of_kind, rendered

# Importing webapp.wsgi opens the application.
[POOL_SIZE] = [each.value.value for each in ast.parse((ROOT / "webapp/wsgi.py").read_text()).body
               if isinstance(each, ast.Assign) and each.targets[0].id == "POOL_SIZE"]
LOAD = "sum(max by (queue) (simyard_queue_load))"


def utilization(hpa: Any) -> dict[str, int]:
    return {each["resource"]["name"]: each["resource"]["target"]["averageUtilization"]
            for each in hpa["spec"]["metrics"] if each["type"] == "Resource"}


def test_web_scales_between_two_and_ten() -> None:
    """S2-2, S2-22, S4-1, S4-12."""
    hpa = of_kind(rendered("base"), "HorizontalPodAutoscaler")["robot-backend"]
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (2, 10)
    assert utilization(hpa) == {"cpu": 70, "memory": 80}
    assert hpa["spec"]["behavior"] == {
        "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 300, "policies": [
            {"type": "Percent", "value": 50, "periodSeconds": 60}]}}


def test_workers_scale_between_three_and_twenty() -> None:
    """S4-1, S4-12, BR-8."""
    hpa = of_kind(rendered("base"), "HorizontalPodAutoscaler")["robot-worker"]
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (3, 20)
    assert utilization(hpa) == {"cpu": 75, "memory": 85}
    assert hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert {each["type"] for each in hpa["spec"]["metrics"]} == {"Resource"}  # base works without an adapter


def test_what_is_scaled_in_shares_of_a_request_has_that_request() -> None:
    """S4-18."""
    for overlay in OVERLAYS:
        for name, hpa in of_kind(rendered(overlay), "HorizontalPodAutoscaler").items():
            assert set(utilization(hpa)) <= set(main_container(rendered(overlay), name)["resources"]["requests"])


def test_with_an_adapter_workers_follow_the_load_of_their_queues() -> None:
    for objects in (base_with("prometheus-adapter"), rendered("overlays/prod")):
        hpa = objects["HorizontalPodAutoscaler", "robot", "robot-worker"]
        assert utilization(hpa) == {"cpu": 75, "memory": 85}
        [external] = [each["external"] for each in hpa["spec"]["metrics"] if each["type"] == "External"]
        told = objects["ConfigMap", "robot", "robot-config"]["data"]
        assert external == {"metric": {"name": "simyard_queue_load"}, "target": {
            "type": "AverageValue", "averageValue": told["WORKER_CONCURRENCY"]}}
    values = yaml.safe_load((K8S / "components/prometheus-adapter/values.yaml").read_text())
    [rule] = values["rules"]["external"]
    assert rule["metricsQuery"].replace("{<<.LabelMatchers>>}", "") == LOAD


def test_with_keda_its_own_autoscaler_takes_the_place_of_ours() -> None:
    objects = base_with("keda")
    assert set(of_kind(objects, "HorizontalPodAutoscaler")) == {"robot-backend"}
    spec = objects["ScaledObject", "robot", "robot-worker"]["spec"]
    ours = rendered("base")["HorizontalPodAutoscaler", "robot", "robot-worker"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (ours["minReplicas"], ours["maxReplicas"])
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == ours["behavior"]
    triggers = {each["type"]: each for each in spec["triggers"]}
    told = objects["ConfigMap", "robot", "robot-config"]["data"]
    assert triggers["prometheus"]["metadata"]["query"] == LOAD
    assert triggers["prometheus"]["metadata"]["threshold"] == told["WORKER_CONCURRENCY"]
    assert [triggers[name]["metadata"]["value"] for name in ("cpu", "memory")] == ["75", "85"]


def test_postgres_has_connections_for_all_that_the_autoscalers_may_make() -> None:
    """Each process has two pools; a worker's children have their own, and one update more of each is under way."""
    for overlay in OVERLAYS:
        objects = rendered(overlay)
        hpas = of_kind(objects, "HorizontalPodAutoscaler")
        web, workers = (hpas[name]["spec"]["maxReplicas"] for name in ("robot-backend", "robot-worker"))
        children = int(objects["ConfigMap", "robot", "robot-config"]["data"]["WORKER_CONCURRENCY"])
        watchers = of_kind(objects, "Deployment")["robot-watcher"]["spec"]["replicas"]
        # A child does one task at a time: one transaction, and one statement beside it.
        needed = (web + 1) * (2 * POOL_SIZE + 2) + math.ceil(workers * 1.25) * children * 2 + (watchers + 1) * 4
        [most] = [each.partition("=")[2] for each in main_container(objects, "postgres")["args"]
                  if each.startswith("max_connections")]
        assert needed <= int(most) - 10, overlay


def bytes_of(quantity: str) -> float:
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(quantity[:-2]) * units[quantity[-2:]] if quantity[-2:] in units else float(quantity)


def cores(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def test_the_laptop_overlay_fits_a_laptop() -> None:
    """S0-36, S4-5: two cores and 4,096 MB hold Kubernetes itself, all of ours at their most and two robots."""
    objects = rendered("overlays/dev")
    hpas = of_kind(objects, "HorizontalPodAutoscaler")
    cpu, memory = 0.9, 0.6 * 2**30  # kube-system of minikube
    for name, each in of_kind(objects, "Deployment", "StatefulSet").items():
        spec = each["spec"]
        replicas = hpas[name]["spec"]["maxReplicas"] if name in hpas else spec.get("replicas", 1)
        for container in spec["template"]["spec"]["containers"]:
            cpu += replicas * cores(container["resources"]["requests"]["cpu"])
            memory += replicas * bytes_of(container["resources"]["requests"]["memory"])
    assert set(of_kind(objects, "Deployment")) == DEPLOYMENTS | {"metrics-server"}
    assert cpu + 2 * 0.1 <= 2
    assert memory + 2 * 256 * 2**20 <= 4096 * 10**6


def test_the_laptop_overlay_takes_images_built_there_and_is_reached_on_node_ports() -> None:
    """S0-44, S0-54, S3-7."""
    objects = rendered("overlays/dev")
    for each in of_kind(objects, "Deployment").values():
        pod = each["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            if container["image"].startswith("robot-sim-"):
                assert container["imagePullPolicy"] == "Never"
    assert of_kind(objects, "Service")["robot-backend-service"]["spec"]["type"] == "NodePort"


def test_flags_that_trust_every_kubelet_are_in_the_laptop_overlay_alone() -> None:
    """S0-40, S1-15, S1-16."""
    flags = {"--kubelet-insecure-tls", "--metric-resolution=15s", "--kubelet-use-node-status-port",
             "--kubelet-preferred-address-types=InternalIP,Hostname,InternalDNS,ExternalDNS,ExternalIP"}
    server = main_container(rendered("overlays/dev"), "metrics-server")
    assert flags <= set(server["args"])
    assert "APIService" in {kind for kind, _, _ in rendered("overlays/dev")}
    holders = {each.relative_to(K8S) for each in K8S.rglob("*.yaml") if "--kubelet-insecure-tls" in each.read_text()}
    assert {str(each) for each in holders} == {"components/metrics-server-dev/metrics-server-dev.yaml"}
    assert "insecure" not in str(rendered("overlays/prod"))


def test_production_is_tight_and_highly_available() -> None:
    """S4-5, S2-13, S4-19."""
    objects = rendered("overlays/prod")
    told = objects["ConfigMap", "robot", "robot-config"]["data"]
    assert told["ALLOWED_IMAGES"]
    assert told["LOG_LEVEL"] == "INFO"
    assert of_kind(objects, "PersistentVolume") == {}
    assert {"backup-postgres", "backup-s3", "restore-drill"} == set(of_kind(objects, "CronJob"))
    assert "robot-backend" in of_kind(objects, "Ingress")
    for name, role in (("robot-backend", "api"), ("robot-worker", "worker")):
        affinity = objects["Deployment", "robot", name]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        [preferred] = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
        assert preferred["preference"]["matchExpressions"] == [
            {"key": "node-role", "operator": "In", "values": [role]}]
