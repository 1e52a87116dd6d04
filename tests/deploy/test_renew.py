"""server-renew.sh: the next version, in six steps; and deploy/images.sh, which builds it."""

import re

import pytest

from tests.deploy.cluster import Cluster
from tests.k8s.rendering import ROOT

IMAGES = ("robot-sim-backend", "robot-sim-worker", "robot-sim-reference")


def tags(cluster: Cluster) -> set[str]:
    """The versions of our images that stand in base."""
    text = "".join(file.read_text() for file in sorted((cluster.root / "k8s/base").glob("*.yaml")))
    found = re.findall(r"(robot-sim-(?:backend|worker|reference)):(v\d+)", text)
    assert {image for image, _ in found} == set(IMAGES)
    return {tag for _, tag in found}


def test_the_version_is_that_of_the_manifests(cluster: Cluster) -> None:
    assert tags(cluster) == {"v" + (ROOT / ".version").read_text().strip()}


def test_the_six_steps_come_in_order(renewed: Cluster) -> None:
    """S0-42, S1-8."""
    assert (renewed.root / ".version").read_text() == "2\n"
    assert tags(renewed) == {"v2"}
    places = [renewed.place("docker build", f" --tag {image}:v2 ") for image in IMAGES]
    places += [renewed.place("kubectl apply"),
               *(renewed.place("kubectl rollout status", f"/robot-{name} ")
                 for name in ("backend", "worker", "watcher", "reader", "flower")),
               renewed.place("kubectl logs --follow deployment/robot-backend")]
    assert places == sorted(set(places))
    applied = (renewed.fake / "applied").read_text()
    assert set(re.findall(r"robot-sim-\w+:(v\d+)", applied)) == {"v2"}


def test_web_has_brought_the_tables_up_to_date_before_workers_are_renewed(renewed: Cluster) -> None:
    first, second = [place for place, call in enumerate(renewed.calls) if call.startswith("kubectl apply")]
    assert "--selector app=robot-backend" in renewed.calls[first]
    assert first < renewed.place("kubectl rollout status deployment/robot-backend") < second
    assert "--selector" not in renewed.calls[second]


def test_each_time_makes_a_version_and_logs_are_followed_only_when_asked_for(cluster: Cluster) -> None:
    (cluster.root / ".version").write_text("9\n")
    assert cluster.run("server-renew.sh").returncode == 0
    assert ((cluster.root / ".version").read_text(), tags(cluster)) == ("10\n", {"v10"})
    assert not any("logs" in call for call in cluster.calls)


@pytest.mark.parametrize("refused", ["docker build --file Dockerfile.worker", "kubectl apply"])
def test_a_version_that_never_got_to_the_cluster_leaves_no_trace(cluster: Cluster, refused: str) -> None:
    before = cluster.files()
    cluster.refuses(refused)
    done = cluster.run("server-renew.sh")
    assert (done.returncode, "as they were" in done.stderr) == (1, True)
    assert cluster.files() == before


def test_a_rollout_that_fails_says_how_to_go_back(cluster: Cluster) -> None:
    cluster.refuses("rollout status deployment/robot-backend")
    done = cluster.run("server-renew.sh")
    assert done.returncode == 1
    assert "kubectl rollout undo deployment/robot-backend --namespace robot" in done.stderr
    assert (cluster.root / ".version").read_text() == "2\n"
    assert not any("/robot-worker" in call for call in cluster.calls if "rollout" in call)


def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    before = cluster.files()
    done = cluster.run("server-renew.sh", "--dry-run", "--logs")
    assert (done.returncode, done.stderr) == (0, "")
    assert [call for call in cluster.calls if call != "kubectl config current-context"] == []
    assert cluster.files() == before
    assert "version 1 becomes 2" in done.stdout


def test_without_a_version_the_manifests_tell(cluster: Cluster) -> None:
    (cluster.root / ".version").unlink()
    assert cluster.run("server-renew.sh").returncode == 0
    assert (cluster.root / ".version").read_text() == "2\n"


def test_a_version_that_is_no_number_is_refused(cluster: Cluster) -> None:
    (cluster.root / ".version").write_text("1.2\n")
    done = cluster.run("server-renew.sh")
    assert (done.returncode, "must hold a number" in done.stderr) == (1, True)
    assert cluster.calls == []


def test_with_a_repository_images_are_pushed_and_pulled(cluster: Cluster) -> None:
    assert cluster.run("server-renew.sh", "--image-repository", "ghcr.io/us").returncode == 0
    for image in IMAGES:
        assert cluster.place("docker push", f" ghcr.io/us/{image}:v2 ") < cluster.place("kubectl apply")
    applied = (cluster.fake / "applied").read_text()
    assert set(re.findall(r"([^\s\"]*)robot-sim-\w+:v2", applied)) == {"ghcr.io/us/"}
    assert "imagePullPolicy: Never" not in applied
    assert tags(cluster) == {"v2"}


def test_images_are_built_inside_minikube(cluster: Cluster) -> None:
    """S0-54."""
    cluster.context("minikube")
    assert cluster.run("deploy/images.sh", "v9").returncode == 0
    built = [call for call in cluster.calls if call.startswith("docker")]
    assert len(built) == 3
    assert all(call.endswith(" @inside") for call in built)


def test_images_are_loaded_into_kind(cluster: Cluster) -> None:
    cluster.context("kind-robot-dev")
    assert cluster.run("deploy/images.sh", "v9").returncode == 0
    assert cluster.calls[-1] == f"kind load docker-image {' '.join(f'{image}:v9' for image in IMAGES)} --name robot-dev"


@pytest.mark.parametrize("tag", ["", "a b", "-x", "a/b"])
def test_a_tag_that_is_none_is_refused(cluster: Cluster, tag: str) -> None:
    done = cluster.run("deploy/images.sh", tag)
    assert done.returncode == 1
    assert cluster.calls == []
