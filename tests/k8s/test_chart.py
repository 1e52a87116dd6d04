"""The Helm chart renders base, and what its values say otherwise."""

import json

import pytest
from helm_python import lint

from tests.k8s.rendering import K8S, containers, everything, main_container, of_kind, pods, rendered, walk
from tests.k8s.rendering import chart as render


def chart(**values: object) -> dict:
    return render(json.dumps(values))


def test_by_default_it_renders_what_base_holds_object_by_object() -> None:
    """S4-6."""
    assert chart() == rendered("base")


def test_it_is_a_sound_chart() -> None:
    assert [each for each in lint(K8S / "chart")["messages"] if each["severity"] > 1] == []  # 1: an icon is missing


def test_images_are_what_is_stated_wherever_they_are_named() -> None:
    ours = {kind: {"repository": f"ghcr.io/us/{kind}", "tag": "v9"} for kind in ("backend", "worker", "reference")}
    objects = chart(image=ours | {"pullPolicy": "Never"})
    assert main_container(objects, "robot-backend")["image"] == "ghcr.io/us/backend:v9"
    for name in ("robot-worker", "robot-watcher", "robot-reader", "robot-flower"):
        found = main_container(objects, name)
        assert (found["image"], found["imagePullPolicy"]) == ("ghcr.io/us/worker:v9", "Never")
    assert objects["ConfigMap", "robot", "robot-config"]["data"]["RECORDER_IMAGE"] == "ghcr.io/us/worker:v9"
    template = json.loads(objects["ConfigMap", "robot", "robot-templates"]["data"]["diffdrive.json"])
    assert template["image"] == "ghcr.io/us/reference:v9"
    assert "robot-sim-" not in str([pods(objects), objects["ConfigMap", "robot", "robot-config"]])


def test_a_secret_of_another_name_is_asked_for_everywhere() -> None:
    objects = chart(existingSecret="vault")
    names = {each["secretKeyRef"]["name"] for pod in pods(objects).values() for container in containers(pod)
             for each in walk(container) if "secretKeyRef" in each}
    assert names == {"vault"}


def test_the_ingress_has_its_class_host_and_certificate() -> None:
    """S4-15."""
    objects = chart(ingress={"enabled": True, "className": "traefik", "host": "sim.us", "s3Host": "s3.us",
                             "issuer": "ours"})
    for name, host in (("robot-backend", "sim.us"), ("minio", "s3.us")):
        spec = objects["Ingress", "robot", name]["spec"]
        assert spec["ingressClassName"] == "traefik"
        assert [spec["rules"][0]["host"]] == spec["tls"][0]["hosts"] == [host]
    told = objects["ConfigMap", "robot", "robot-config"]["data"]
    assert (told["MINIO_PUBLIC_ENDPOINT"], told["TRUSTED_PROXIES"]) == ("https://s3.us", "1")
    with_component = everything()["base with ingress"]
    assert everything()["chart with ingress"] == with_component


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_the_service_may_be_of_another_type(kind: str) -> None:
    """S0-44, S4-15."""
    services = of_kind(chart(service={"type": kind}), "Service")
    assert {name for name, each in services.items() if each["spec"].get("type") == kind} == {"robot-backend-service"}


def test_resources_nodes_replicas_and_settings_may_be_others() -> None:
    """S2-13."""
    wanted = {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
    objects = chart(resources={"robot-worker": wanted}, nodeSelector={"robot-worker": {"node-role": "worker"}},
                    replicas={"robot-reader": 5}, autoscaling={"robot-worker": {"maxReplicas": 40}},
                    config={"MAX_RUNNING_INSTANCES": 7})
    assert main_container(objects, "robot-worker")["resources"] == wanted
    assert pods(objects)["robot-worker"]["spec"]["nodeSelector"] == {"node-role": "worker"}
    assert of_kind(objects, "Deployment")["robot-reader"]["spec"]["replicas"] == 5
    hpa = of_kind(objects, "HorizontalPodAutoscaler")["robot-worker"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (3, 40)
    assert objects["ConfigMap", "robot", "robot-config"]["data"]["MAX_RUNNING_INSTANCES"] == "7"


def test_storage_has_the_class_and_sizes_that_are_stated() -> None:
    """S4-13."""
    objects = chart(storage={"className": "efs-sc", "minio": "1Ti", "nodeVolumes": False})
    claims = {name: each["spec"]["volumeClaimTemplates"][0]["spec"]
              for name, each in of_kind(objects, "StatefulSet").items()}
    assert {each["storageClassName"] for each in claims.values()} == {"efs-sc"}
    assert claims["minio"]["resources"]["requests"]["storage"] == "1Ti"
    assert of_kind(objects, "PersistentVolume") == {}


def test_namespaces_may_be_made_by_somebody_else() -> None:
    assert of_kind(chart(namespaces=False), "Namespace") == {}
