"""Replicas, updates, and that processes are started as they must be."""

import re
from collections.abc import Iterable

from shared.messaging.queue import CONFIG
from shared.settings import WebSettings
from standalone.stack import COMMANDS
from tests.k8s.rendering import DEPLOYMENTS, OVERLAYS, main_container, of_kind, pods, rendered


def test_replicas_are_spread_over_nodes_and_zones() -> None:
    """S4-19."""
    for name in DEPLOYMENTS - {"robot-flower"}:
        for overlay, wanted in (("base", "ScheduleAnyway"), ("overlays/prod", "DoNotSchedule")):
            zone, host = pods(rendered(overlay))[name]["spec"]["topologySpreadConstraints"]
            assert (zone["topologyKey"], zone["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
            assert (host["topologyKey"], host["whenUnsatisfiable"]) == ("kubernetes.io/hostname", wanted)
            assert zone["labelSelector"] == host["labelSelector"] == {"matchLabels": {"app": name}}


def test_several_may_be_away_but_never_all() -> None:
    """S4-19, S2-30: and what has one replica does not block a drain."""
    base = rendered("base")
    budgets = of_kind(base, "PodDisruptionBudget")
    assert {name: each["spec"]["maxUnavailable"] for name, each in budgets.items()} == dict.fromkeys(
        DEPLOYMENTS - {"robot-flower"}, 1)
    for name, each in budgets.items():
        assert each["spec"]["selector"]["matchLabels"] == {"app": name}
        least = of_kind(base, "Deployment")[name]["spec"].get("replicas") or of_kind(
            base, "HorizontalPodAutoscaler")[name]["spec"]["minReplicas"]
        assert least >= 2


def test_a_rolling_update_ends_what_is_under_way() -> None:
    """S0-62: a pod leaves the Service before it is told to stop, and is not killed while it still answers."""
    objects = rendered("base")
    web, worker = pods(objects)["robot-backend"]["spec"], pods(objects)["robot-worker"]["spec"]
    [flag] = [each for each in main_container(objects, "robot-backend")["command"] if "graceful-timeout" in each]
    pause = int(main_container(objects, "robot-backend")["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pause + int(flag.partition("=")[2]) < web["terminationGracePeriodSeconds"]
    assert worker["terminationGracePeriodSeconds"] > CONFIG["task_time_limit"]
    for name in ("robot-backend", "robot-reader"):
        assert of_kind(objects, "Deployment")[name]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_migrations_come_before_web() -> None:
    """S0-10, S3-5, S3-6."""
    [install] = pods(rendered("base"))["robot-backend"]["spec"]["initContainers"]
    assert install["command"] == ["python", "-m", "webapp.install"]
    assert install["image"] == main_container(rendered("base"), "robot-backend")["image"]


def flags(words: Iterable[str]) -> dict[str, str]:
    """The long options of a command line with their values, written as `--a b` or as `--a=b`."""
    line = " ".join(words)
    return {name: value.strip(" =") for name, value in re.findall(r"(--[a-z-]+)((?:=| (?=\d))[^ ]+)?", line)}


def test_processes_are_started_as_on_one_machine() -> None:
    """The flags that make web and Flower right are those of `simyard up`, but where they listen and how long they
    wait."""
    base = rendered("base")
    ours, theirs = flags(main_container(base, "robot-backend")["command"]), flags(COMMANDS.web)
    assert theirs.keys() <= ours.keys()
    assert {flag for flag in theirs if theirs[flag] != ours[flag]} == {"--keep-alive", "--graceful-timeout"}
    assert flags(COMMANDS.worker).items() <= flags(main_container(base, "robot-worker")["command"]).items()
    assert main_container(base, "robot-watcher")["command"][-1] == COMMANDS.watcher[-1]
    assert main_container(base, "robot-reader")["command"][-1] == COMMANDS.reader[-1]
    assert COMMANDS.flower[-1] in main_container(base, "robot-flower")["command"]


def test_simulators_share_a_quota_that_holds_all_slots() -> None:
    for overlay in OVERLAYS:
        objects = rendered(overlay)
        quota = objects["ResourceQuota", "robot-sims", "robot-sims"]["spec"]["hard"]
        told = objects["ConfigMap", "robot", "robot-config"]["data"]
        slots = sum(int(told[f"MAX_RUNNING_{kind}"]) for kind in ("INSTANCES", "PLAYBACKS", "INGESTS"))
        assert slots < int(quota["pods"]), overlay
        assert quota["count/services"] == quota["count/persistentvolumeclaims"] == "0"
    [limit] = rendered("base")["LimitRange", "robot-sims", "robot-sims"]["spec"]["limits"]
    assert limit["max"]["memory"] == f"{WebSettings.model_fields['max_memory_mb'].default // 1024}Gi"


def test_the_api_keeps_its_replicas_to_the_autoscaler() -> None:
    """Else every apply, and ArgoCD all the time, would undo what the HPA did."""
    for name in ("robot-backend", "robot-worker"):
        assert "replicas" not in rendered("overlays/prod")["Deployment", "robot", name]["spec"]
