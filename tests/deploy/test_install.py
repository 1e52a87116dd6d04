"""install.sh brings all up in the order in which the parts need each other, and stops where one does not come."""

import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.deploy.cluster import Cluster
from tests.k8s.rendering import ROOT, pods, rendered

FILLED = ["apiservice/v1beta1.metrics.k8s.io", "crd/servicemonitors.monitoring.coreos.com",
          "crd/certificates.cert-manager.io", "ingressclass/nginx", "secret/robot-backup"]


def fill_in(cluster: Cluster) -> None:
    """Make the production overlay somebody's own."""
    for file in (cluster.root / "k8s").rglob("*"):
        if file.is_file() and file.suffix in (".yaml", ".env"):
            text = file.read_text().replace("example.com", "robots.test")
            file.write_text(re.sub("sha256:0{64}", "sha256:" + "a" * 64, text))


def test_the_parts_come_in_strict_order_and_each_is_waited_for(installed: Cluster) -> None:
    """S0-37, S0-39, S0-41, S1-10, S1-11, S1-12, S1-17, S3-8."""
    apply, rollout = "kubectl apply", "kubectl rollout status"
    places = [
        installed.place("docker build"),
        installed.place(apply, " Namespace/robot "),
        installed.place("kubectl create", " Secret/robot-secrets "),
        installed.place(apply, " ConfigMap/robot-config "),
        installed.place(apply, " PersistentVolume/robot-postgres "),
        installed.place(apply, " StatefulSet/postgres "),
        installed.place(rollout, " statefulset/postgres "),
        installed.place(apply, " PersistentVolume/robot-minio "),
        installed.place(apply, " StatefulSet/minio "),
        installed.place(rollout, " statefulset/minio "),
        installed.place(apply, " StatefulSet/redis "),
        installed.place(rollout, " statefulset/redis "),
        installed.place(apply, " Deployment/metrics-server "),
        installed.place(rollout, " deployment/metrics-server "),
        installed.place(apply, " Deployment/robot-backend "),
        installed.place(rollout, " deployment/robot-backend "),
        installed.place(apply, " Deployment/robot-worker "),
        *(installed.place(rollout, f" deployment/robot-{name} ") for name in ("reader", "worker", "watcher", "flower")),
        installed.place(apply, " HorizontalPodAutoscaler/robot-worker "),
        installed.place("kubectl get endpointslices"),
        installed.place("kubectl exec"),
    ]
    assert places == sorted(set(places))
    waits = [place for place, call in enumerate(installed.calls) if call.startswith(rollout)]
    assert all(installed.calls[place].endswith("--timeout=300s") for place in waits)
    assert all(installed.calls[place + 1].startswith("kubectl get pods,services") for place in waits)


def test_every_workload_of_the_overlay_is_waited_for(installed: Cluster) -> None:
    waited = {call.split()[3].split("/")[1] for call in installed.calls if call.startswith("kubectl rollout status")}
    assert waited == set(pods(rendered("overlays/dev")))


def test_in_the_end_everything_of_the_overlay_is_applied(installed: Cluster) -> None:
    last = [call for call in installed.calls if call.startswith("kubectl apply")][-1].split("<")[1].split()
    assert sorted(last) == sorted(f"{kind}/{name}" for kind, _, name in rendered("overlays/dev"))


def test_the_second_time_the_passwords_stay_and_nothing_else_is_different(installed: Cluster, cluster: Cluster) -> None:
    """S0-41."""
    cluster.has("secret/robot-secrets")
    assert cluster.run("install.sh").returncode == 0
    first = [call for call in installed.calls if "kubectl create" not in call and "persistentvolume" not in call]
    paths = re.compile(r"/\S+")
    assert [paths.sub("F", call) for call in cluster.calls] == [paths.sub("F", call) for call in first]
    assert cluster.applied() == installed.applied()


@pytest.mark.parametrize(("refused", "said", "never"), [
    ("kubectl version", "does not answer", "kubectl apply"),
    ("docker build", "", "kubectl apply"),
    ("<Namespace".replace("<", "< "), "was refused", "kubectl create"),
    ("kubectl create", "could not be made", "StatefulSet"),
    ("statefulset/minio", "statefulset/minio is not ready", "StatefulSet/redis"),
    ("rollout status deployment/robot-backend", "docs/runbook.md", "Deployment/robot-worker"),
    ("kubectl exec", "cannot be reached", "nothing"),
])
def test_it_stops_where_something_fails(cluster: Cluster, refused: str, said: str, never: str) -> None:
    cluster.refuses(refused)
    done = cluster.run("install.sh")
    assert done.returncode == 1
    assert said in done.stderr
    assert not any(never in call for call in cluster.calls)


def test_a_database_whose_password_is_gone_is_not_given_a_new_one(cluster: Cluster) -> None:
    cluster.has("persistentvolumeclaim/data-postgres-0")
    done = cluster.run("install.sh")
    assert (done.returncode, "bring that back" in done.stderr) == (1, True)
    assert not any("create" in call or "StatefulSet" in call for call in cluster.calls)


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_a_dry_run_says_it_all_and_asks_and_changes_nothing(cluster: Cluster, overlay: str) -> None:
    before = cluster.files()
    done = cluster.run("install.sh", "--overlay", overlay, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert [call for call in cluster.calls if call != "kubectl config current-context"] == []
    assert cluster.files() == before
    for word in ("statefulset/postgres", "deployment/robot-backend", "secrets.sh", "kubectl exec"):
        assert word in done.stdout


def test_production_names_at_once_everything_that_it_misses(cluster: Cluster) -> None:
    done = cluster.run("install.sh", "--overlay", "prod")
    assert done.returncode == 1
    for part in ("digests", "example.com", "metrics server", "kube-prometheus-stack", "cert-manager", "ingress-nginx",
                 "robot-backup"):
        assert part in done.stderr
    assert not any(call.startswith(("kubectl apply", "kubectl create", "docker")) for call in cluster.calls)


def test_production_that_is_filled_in_is_installed_without_volumes_and_builds_of_ours(cluster: Cluster) -> None:
    fill_in(cluster)
    cluster.has(*FILLED)
    done = cluster.run("install.sh", "--overlay", "prod", "--admin", "me@robots.test")
    assert (done.returncode, done.stderr) == (0, "")
    assert not any("PersistentVolume/" in call or call.startswith("docker") for call in cluster.calls)
    assert any("CronJob/restore-drill" in call and "Ingress/robot-backend" in call for call in cluster.calls)


def test_images_come_from_the_repository_that_is_named(cluster: Cluster) -> None:
    done = cluster.run("install.sh", "--image-repository", "ghcr.io/us")
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(call.startswith("docker") for call in cluster.calls)
    named = re.findall(r"([^\s\"]*)robot-sim-(?:backend|worker|reference):", (cluster.fake / "applied").read_text())
    assert set(named) == {"ghcr.io/us/"}
    assert "imagePullPolicy: Never" not in (cluster.fake / "applied").read_text()


@pytest.mark.parametrize(("arguments", "said"), [
    (["--overlay", "test"], "only dev and prod"), (["--force"], "no option --force"), (["--overlay"], "needs dev")])
def test_wrong_options_are_named(cluster: Cluster, arguments: list[str], said: str) -> None:
    done = cluster.run("install.sh", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert cluster.calls == []


class Part(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/ill" else 200)
        self.end_headers()
        self.wfile.write(b"told")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("path", "code", "said"), [("/well", 0, "ok .*/well told"), ("/ill", 1, "FAIL .*/ill .*503")])
def test_a_connection_is_well_only_if_the_answer_is(path: str, code: int, said: str) -> None:
    """S0-41, S1-12: as it is sent into the pod of web, on stdin."""
    with HTTPServer(("127.0.0.1", 0), Part) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run([sys.executable, "-", address, f"{address}{path}"], capture_output=True, text=True,
                              input=(ROOT / "deploy/connections.py").read_text(), check=False)
        server.shutdown()
    assert done.returncode == code
    assert re.search(said, done.stdout)
