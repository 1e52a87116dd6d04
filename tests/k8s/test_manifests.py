"""What holds for everything there is to render, and the names that contract and seeds fix."""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import SchemaNotFoundError

from tests.k8s.rendering import (
    DEPLOYMENTS,
    EVERYTHING,
    K8S,
    OVERLAYS,
    ROOT,
    Key,
    Object,
    containers,
    everything,
    main_container,
    of_kind,
    pods,
    rendered,
    walk,
)

# Kinds of others, whose schemas Kubernetes does not have; each has a test of its own.
FOREIGN = {"Application", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
MADE_ELSEWHERE = {
    ("Secret", "robot-secrets"): "k8s/secrets.sh", ("Secret", "robot-backup"): "the operator",
    ("Secret", "robot-backend-tls"): "cert-manager", ("Secret", "minio-tls"): "cert-manager",
    ("Role", "extension-apiserver-authentication-reader"): "Kubernetes",
    ("ClusterRole", "system:auth-delegator"): "Kubernetes",
}
OUR_IMAGES = {"robot-sim-backend", "robot-sim-worker", "robot-sim-reference"}


@cache
def validate(document: str) -> None:
    """An object, as JSON; most are the same in one rendering and the next."""
    each = json.loads(document)
    try:
        kubernetes_validate.validate(each, "1.37", strict=True)
    except SchemaNotFoundError:
        assert each["kind"] in FOREIGN


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_object_is_what_kubernetes_knows_in_every_field(name: str) -> None:
    for each in everything()[name].values():
        validate(json.dumps(each))


def test_a_field_that_does_not_exist_would_be_noticed() -> None:
    wrong = {**rendered("base")["Deployment", "robot", "robot-flower"], "spek": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_files_and_objects_are_called_as_they_always_were() -> None:
    """S0-37, S0-38, S0-43, S1-3, S1-4, S1-5, S1-14, S2-7, S4-7."""
    files = {"namespace.yaml", "postgres-pv.yaml", "postgres-deploy.yaml", "minio-pv.yaml", "minio-deploy.yaml",
             "redis-deploy.yaml", "server-deploy.yaml", "worker-deploy.yaml", "watcher-deploy.yaml",
             "reader-deploy.yaml", "flower-deploy.yaml", "rbac.yaml", "networkpolicies.yaml", "hpa.yaml", "pdb.yaml"}
    assert files <= {each.name for each in (K8S / "base").iterdir()}
    assert (K8S / "components/metrics-server-dev/metrics-server-dev.yaml").is_file()
    base = rendered("base")
    assert set(of_kind(base, "Namespace")) == {"robot", "robot-sims"}
    assert set(of_kind(base, "Deployment")) == DEPLOYMENTS
    assert set(of_kind(base, "StatefulSet")) == {"postgres", "redis", "minio"}
    ports = {name: sorted(port["port"] for port in each["spec"]["ports"])
             for name, each in of_kind(base, "Service").items()}
    assert ports == {"robot-backend-service": [8000], "postgres-service": [5432], "redis-service": [6379],
                     "minio-service": [9000, 9001], "robot-reader-service": [8010], "robot-flower-service": [5555]}
    assert {each["kind"] for each in yaml.safe_load_all((K8S / "base/server-deploy.yaml").read_text())} == {
        "ConfigMap", "Service", "Deployment"}
    for name in ("postgres", "redis", "minio"):
        [claim] = of_kind(base, "StatefulSet")[name]["spec"]["volumeClaimTemplates"]
        assert of_kind(base, "PersistentVolume")[f"robot-{name}"]["spec"]["claimRef"] == {
            "namespace": "robot", "name": f"{claim['metadata']['name']}-{name}-0"}
    assert main_container(base, "robot-backend")["name"] == "robot-backend"  # `kubectl set image` of S0-62, S0-72


def test_base_is_listed_in_the_order_to_apply_it_in() -> None:
    """S0-37, S0-39, S1-10, S1-11, S1-17."""
    listed = yaml.safe_load((K8S / "base/kustomization.yaml").read_text())["resources"]
    order = ["namespace.yaml", "postgres-pv.yaml", "postgres-deploy.yaml", "minio-pv.yaml", "minio-deploy.yaml",
             "redis-deploy.yaml", "server-deploy.yaml", "hpa.yaml"]
    assert [each for each in listed if each in order] == order


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_object_carries_the_labels_one_looks_for_it_by(name: str) -> None:
    """S3-10, S4-16."""
    for (_, namespace, _), each in everything()[name].items():
        if namespace == "kube-system" or each["metadata"].get("labels", {}).get("k8s-app") == "metrics-server":
            continue  # of others
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "simyard", each["metadata"]["name"]
    for workload, template in pods(everything()[name]).items():
        if workload in (*DEPLOYMENTS, "postgres", "redis", "minio"):
            labels = template["metadata"]["labels"]
            assert labels["app"] == labels["app.kubernetes.io/name"] == workload
            assert labels["tier"] in ("backend", "worker", "data", "monitor")
            assert labels["app.kubernetes.io/component"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_their_pods_and_ports_have_their_names(overlay: str) -> None:
    """S0-55: a Service without endpoints is one whose selector finds nothing."""
    objects = rendered(overlay)
    templates = pods(objects)
    for kind in ("Deployment", "StatefulSet"):
        for each in of_kind(objects, kind).values():
            wanted = each["spec"]["selector"]["matchLabels"].items()
            assert wanted <= each["spec"]["template"]["metadata"]["labels"].items()
    services = [each for (kind, space, _), each in objects.items() if (kind, space) == ("Service", "robot")]
    for service in services:
        wanted = service["spec"]["selector"].items()
        [found] = [pod for pod in templates.values() if wanted <= pod["metadata"]["labels"].items()]
        open_ports = {port["containerPort"] for each in containers(found) for port in each.get("ports", [])}
        assert {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]} <= open_ports
    for pod in templates.values():
        for each in containers(pod):
            named = {port["name"] for port in each.get("ports", [])}
            for probe in walk({key: value for key, value in each.items() if key.endswith("Probe")}):
                assert probe.get("port") is None or probe["port"] in named


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_that_is_named_exists(name: str) -> None:
    """S0-53, S4-18."""
    objects = everything()[name]
    if name == "argocd":
        return
    for named in _named(objects):
        assert named in MADE_ELSEWHERE or named in {(kind, name) for kind, _, name in objects}, named


def _named(objects: dict[Key, Object]) -> Iterator[tuple[str, str]]:
    for template in pods(objects).values():
        pod = template["spec"]
        if "serviceAccountName" in pod:
            yield "ServiceAccount", pod["serviceAccountName"]
        for each in walk(pod):
            for field, kind in (("configMapRef", "ConfigMap"), ("configMapKeyRef", "ConfigMap"),
                                ("secretRef", "Secret"), ("secretKeyRef", "Secret"), ("configMap", "ConfigMap")):
                if field in each:
                    yield kind, each[field]["name"]
            if "persistentVolumeClaim" in each:
                yield "PersistentVolumeClaim", each["persistentVolumeClaim"]["claimName"]
    for each in objects.values():
        for subject in [*each.get("subjects", []), *([each["roleRef"]] if "roleRef" in each else [])]:
            yield subject["kind"], subject["name"]
        if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            yield "Deployment", each["spec"]["scaleTargetRef"]["name"]
        if each["kind"] == "StatefulSet":
            yield "Service", each["spec"]["serviceName"]
        if each["kind"] == "Ingress":
            yield from (("Service", found["service"]["name"]) for found in walk(each["spec"]) if "service" in found)
            yield from (("Secret", tls["secretName"]) for tls in each["spec"]["tls"])


def test_every_mount_has_its_volume_and_every_volume_its_mount() -> None:
    for objects in everything().values():
        claims = {name: [claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])]
                  for name, each in of_kind(objects, "StatefulSet").items()}
        for name, pod in pods(objects).items():
            volumes = [each["name"] for each in pod["spec"].get("volumes", [])] + claims.get(name, [])
            assert {mount["name"] for each in containers(pod) for mount in each["volumeMounts"]} == set(volumes)


def test_nothing_lies_in_k8s_that_nothing_refers_to() -> None:
    """Each file is named by a kustomization, or said here why not."""
    by_themselves = {
        "README.md": "for people", "secrets.sh": "run by people", "components/monitoring/rules-test.yaml": "promtool",
        "components/prometheus-adapter/values.yaml": "helm", "chart/Chart.yaml": "helm", "chart/values.yaml": "helm",
        "chart/templates/objects.yaml": "helm", "chart/templates/_changes.tpl": "helm",
        "chart/.helmignore": "helm", "chart/base": "a link", "chart/ingress": "a link"}
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "k8s"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout.split()
    files = {str(Path(each).relative_to("k8s")) for each in listed}
    named: set[str] = set()
    for kustomization in K8S.rglob("kustomization.yaml"):
        if (K8S / "chart") in kustomization.parents:
            continue
        named.add(str(kustomization.relative_to(K8S)))
        document = yaml.safe_load(kustomization.read_text())
        entries = [*document.get("resources", []), *document.get("components", []),
                   *(patch["path"] for patch in document.get("patches", []) if "path" in patch),
                   *(file for made in document.get("configMapGenerator", [])
                     for file in [*made.get("files", []), *made.get("envs", [])])]
        for entry in entries:
            found = (kustomization.parent / entry).resolve()
            assert found.exists(), entry
            named.add(str(found.relative_to(K8S)))
    assert files - named - set(by_themselves) == set()
    assert set(by_themselves) - files <= {"README.md", "chart/.helmignore"}


@pytest.mark.parametrize("name", EVERYTHING)
def test_images_of_others_are_pinned_and_ours_are_versioned(name: str) -> None:
    """S0-32, S0-48, S1-8: minio/minio is gone from Docker Hub."""
    images = {each["image"] for pod in pods(everything()[name]).values() for each in containers(pod)}
    for image in images:
        bare = image.partition("@")[0].partition(":")[0].rpartition("/")[2]
        if bare in OUR_IMAGES and name != "overlays/prod":
            assert re.fullmatch(r"robot-sim-\w+:v\d+", image)
        else:
            assert re.fullmatch(r"[\w./-]+(:[\w.-]+)?@sha256:[0-9a-f]{64}", image)
        assert "latest" not in image
        assert "minio/minio" not in image


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_recorders_are_the_workers_image(overlay: str) -> None:
    objects = rendered(overlay)
    told = objects["ConfigMap", "robot", "robot-config"]["data"]["RECORDER_IMAGE"]
    ours = {main_container(objects, name)["image"] for name in DEPLOYMENTS - {"robot-backend"}}
    assert ours == {told}


def test_both_namespaces_hold_pods_to_the_restricted_profile() -> None:
    """S3-17."""
    for name in ("robot", "robot-sims"):
        labels = of_kind(rendered("base"), "Namespace")[name]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_argocd_application_prunes_heals_and_tries_again() -> None:
    """S2-9, S2-10."""
    [application] = everything()["argocd"].values()
    assert application["spec"]["source"]["path"] == "k8s/overlays/prod"
    assert application["spec"]["syncPolicy"] == {
        "automated": {"prune": True, "selfHeal": True, "allowEmpty": False}, "syncOptions": ["CreateNamespace=true"],
        "retry": {"limit": 5, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"}}}
    assert any("slack" in name for name in application["metadata"]["annotations"])
