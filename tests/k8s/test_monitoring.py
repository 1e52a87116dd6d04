"""What is scraped, what alarms and what is shown, over metrics that there are."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flower.events
import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from tests.k8s.rendering import K8S, base_with, of_kind
from tests.webapp.web import Web

PLACE = K8S / "components/monitoring"
BIN = Path(sys.executable).parent
# Of node_exporter, kube-state-metrics, the kubelet and ArgoCD, which kube-prometheus-stack brings or scrapes.
OTHERS = {
    "node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes",
    "node_filesystem_avail_bytes", "node_filesystem_size_bytes", "node_network_receive_bytes_total",
    "node_network_transmit_bytes_total", "kube_pod_status_phase", "kube_pod_container_status_waiting_reason",
    "kube_pod_container_status_restarts_total", "kube_deployment_status_replicas_available",
    "kube_horizontalpodautoscaler_status_desired_replicas", "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_cronjob_status_last_successful_time", "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes", "kubelet_volume_stats_used_bytes", "kubelet_volume_stats_capacity_bytes",
    "argocd_app_info", "argocd_app_sync_total"}
GIVEN_AT_THE_SCRAPE = {"pod", "instance", "namespace"}


def rules() -> list[dict[str, Any]]:
    spec = base_with("monitoring")["PrometheusRule", "robot", "robot"]["spec"]
    return [rule for group in spec["groups"] for rule in group["rules"]]


def boards() -> dict[str, Any]:
    data = base_with("monitoring")["ConfigMap", "monitoring", "robot-boards"]["data"]
    return {name: json.loads(text) for name, text in data.items()}


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for board in boards().values() for panel in board["panels"]
                for target in panel["targets"])
    yield base_with("keda")["ScaledObject", "robot", "robot-worker"]["spec"]["triggers"][0]["metadata"]["query"]


def selectors(expression: Any) -> Iterator[tuple[str, set[str]]]:
    """Each metric in a parsed expression, with the labels it is asked by."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression.name, {each.name for each in expression.matchers.matchers}
    for part in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(expression, part, None)
        if inner is not None and not isinstance(inner, str):
            yield from selectors(inner)
    for inner in getattr(expression, "args", None) or []:
        yield from selectors(inner)


def of_flower() -> set[str]:
    flower.events.get_prometheus_metrics()
    found = {sample.name for family in REGISTRY.collect() if family.name.startswith("flower") for sample in
             family.samples} | {family.name for family in REGISTRY.collect() if family.name.startswith("flower")}
    assert found
    return found


def test_alerts_and_boards_ask_for_metrics_that_there_are(web: Web) -> None:
    """S0-67, S2-26, BR-7."""
    client = web.app.test_client()
    client.get("/up")
    text = client.get("/metrics").get_data(as_text=True)
    ours = {match[1]: set(re.findall(r'(\w+)="', match[2] or "")) for match in re.finditer(
        r"^(\w+)(\{.*\})? ", text, re.MULTILINE)}
    helped = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    asked = [each for expression in expressions() for each in selectors(promql_parser.parse(expression))]
    assert len({name for name, _ in asked if name.startswith("simyard_")}) > 8
    for name, labels in asked:
        if name in OTHERS or name in of_flower():
            continue
        assert name in ours or name in helped, name
        if name in ours:
            assert labels - GIVEN_AT_THE_SCRAPE <= ours[name] | {"quantile"}, name


def test_the_alerts_stated_are_there() -> None:
    """S2-27, S2-28."""
    by_name = {rule["alert"]: rule for rule in rules()}
    stated = {"NodeCpuHigh": ("critical", "> 0.9", "5m"), "NodeMemoryHigh": ("critical", "> 0.9", "5m"),
              "PodCrashLooping": ("critical", "CrashLoopBackOff", "2m"),
              "NodeDiskFull": ("critical", "> 0.85", "5m"), "ApiSlow": ("warning", "0.95", "5m"),
              "ApiErrors": ("warning", "> 0.05", "5m"), "DatabaseConnectionsHigh": ("warning", "> 0.8", "5m")}
    for name, (severity, part, time) in stated.items():
        rule = by_name[name]
        assert (rule["labels"]["severity"], rule["for"]) == (severity, time)
        assert part in rule["expr"]
    assert "> 2" in by_name["ApiSlow"]["expr"]
    assert {"QueueStuck", "NoneAvailable", "UploadsStuck", "CallsFail", "PartDown", "BackupMissed"} <= set(by_name)


def test_every_alert_says_what_is_wrong_and_what_to_do_and_is_tried() -> None:
    tried = (PLACE / "rules-test.yaml").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "remedy"}
        assert f'"{rule["alert"]}"' in tried or f"alertname: {rule['alert']}" in tried


def test_the_rules_do_what_their_tests_say(tmp_path: Path) -> None:
    """With promtool, where there is one: as PROMTOOL names it, in .venv/bin or in PATH."""
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if promtool is None:
        pytest.skip("no promtool: `make promtool` fetches Debian's, or name one by the variable PROMTOOL")
    spec = base_with("monitoring")["PrometheusRule", "robot", "robot"]["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    shutil.copy(PLACE / "rules-test.yaml", tmp_path)
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "rules-test.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_web_and_flower_are_scraped() -> None:
    """S0-73."""
    objects = base_with("monitoring")
    for name, each in of_kind(objects, "ServiceMonitor").items():
        [service] = [service for service in of_kind(objects, "Service").values()
                     if each["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()]
        [endpoint] = each["spec"]["endpoints"]
        assert endpoint["path"] == "/metrics"
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        assert each["metadata"]["namespace"] == service["metadata"]["namespace"] == "robot", name
    assert set(of_kind(objects, "ServiceMonitor")) == {"robot-backend", "robot-flower"}


def test_the_boards_are_there_and_are_found_by_grafana() -> None:
    """S2-29, S0-67."""
    assert set(boards()) == {f"{name}.json" for name in ("cluster", "api", "nodes", "database", "gitops",
                                                         "simulations")}
    labels = base_with("monitoring")["ConfigMap", "monitoring", "robot-boards"]["metadata"]["labels"]
    assert labels["grafana_dashboard"] == "1"
    assert len({board["uid"] for board in boards().values()}) == len(boards())
    for board in boards().values():
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert len({tuple(panel["gridPos"].values()) for panel in board["panels"]}) == len(board["panels"])
