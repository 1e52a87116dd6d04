"""Who may speak to whom, as the NetworkPolicies come out when they are added up."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

import pytest

from shared.domain.specs import Program
from shared.domain.states import Kind
from tests.k8s.rendering import Key, Object, base_with, everything, of_kind, pods, rendered
from workers.runtimes.base import Name, Run
from workers.runtimes.kubernetes.pods import Site, manifest

Labels = Mapping[str, str]
NAMESPACES = ("robot", "robot-sims", "kube-system", "ingress-nginx", "monitoring", "elsewhere")
STRANGERS: dict[str, tuple[str, Labels]] = {
    "ingress": ("ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"}),
    "prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "grafana": ("monitoring", {"app.kubernetes.io/name": "grafana"}),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "other system pod": ("kube-system", {"k8s-app": "metrics-server"}),
    "other pod": ("elsewhere", {"app": "whatever"}),
    "simulator": ("robot-sims", {"simyard.io/kind": "instance", "simyard.io/network": "none"}),
    "simulator with cluster": ("robot-sims", {"simyard.io/kind": "instance", "simyard.io/network": "cluster"}),
    "simulator with internet": ("robot-sims", {"simyard.io/kind": "instance", "simyard.io/network": "internet"}),
    "player": ("robot-sims", {"simyard.io/kind": "playback", "simyard.io/network": "none"}),
    "ingester": ("robot-sims", {"simyard.io/kind": "ingest", "simyard.io/network": "none"}),
}
PORTS = (53, 80, 443, 5432, 5555, 6379, 6443, 8000, 8010, 9000, 9001, 30000)
SIMULATORS = [name for name, (namespace, _) in STRANGERS.items() if namespace == "robot-sims"]


def everybody(objects: Mapping[Key, Object]) -> dict[str, tuple[str, Labels]]:
    ours = {name: ("robot", pod["metadata"]["labels"]) for name, pod in pods(objects).items()}
    return ours | STRANGERS


def selects(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    if selector is None:
        return True
    wanted = selector.get("matchLabels", {})
    told = [labels.get(each["key"]) in each["values"] if each["operator"] == "In"
            else labels.get(each["key"]) not in each["values"] for each in selector.get("matchExpressions", [])]
    return wanted.items() <= labels.items() and all(told)


def rules(objects: Mapping[Key, Object], who: tuple[str, Labels], way: str) -> list[Any] | None:
    """The rules for this pod, None when no policy selects it and everything is allowed."""
    found = [each["spec"] for (kind, namespace, _), each in objects.items()
             if kind == "NetworkPolicy" and namespace == who[0] and selects(each["spec"]["podSelector"], who[1])
             and way.capitalize() in each["spec"]["policyTypes"]]
    return [rule for spec in found for rule in spec.get(way, [])] if found else None


def lets(rule: Mapping[str, Any], peers: str, home: str, other: tuple[str, Labels], port: int) -> bool:
    if "ports" in rule and port not in [each["port"] for each in rule["ports"]]:
        return False
    for peer in rule[peers]:
        if "ipBlock" in peer:
            continue  # of the world outside, below
        space = {"kubernetes.io/metadata.name": other[0]}
        in_reach = selects(peer["namespaceSelector"], space) if "namespaceSelector" in peer else other[0] == home
        if in_reach and selects(peer.get("podSelector"), other[1]):
            return True
    return False


def edges(objects: Mapping[Key, Object], people: Mapping[str, tuple[str, Labels]]) -> Iterator[tuple[str, str, int]]:
    """Every connection between pods that both sides allow."""
    for source, who in people.items():
        out = rules(objects, who, "egress")
        for target, whom in people.items():
            into = rules(objects, whom, "ingress")
            for port in PORTS:
                if (out is None or any(lets(rule, "to", who[0], whom, port) for rule in out)) and (
                        into is None or any(lets(rule, "from", whom[0], who, port) for rule in into)):
                    yield source, target, port


def ours(objects: Mapping[Key, Object]) -> set[tuple[str, str, int]]:
    """Those with one of ours at an end."""
    strange = {name for name, (namespace, _) in STRANGERS.items() if namespace not in ("robot", "robot-sims")}
    return {(source, target, port) for source, target, port in edges(objects, everybody(objects))
            if not {source, target} <= strange}


DATA = {("postgres", 5432), ("redis", 6379), ("minio", 9000)}
DNS = {"robot-backend", "robot-worker", "robot-watcher", "robot-reader", "robot-flower", *SIMULATORS}
EDGES = {
    ("ingress", "robot-backend", 8000), ("prometheus", "robot-backend", 8000), ("prometheus", "robot-flower", 5555),
    *((each, target, port) for each in ("robot-backend", "robot-worker", "robot-watcher") for target, port in DATA),
    ("robot-backend", "robot-reader", 8010), ("robot-reader", "minio", 9000), ("robot-flower", "redis", 6379),
    *((each, "robot-backend", 8000) for each in SIMULATORS), *((each, "minio", 9000) for each in SIMULATORS),
    *((each, "dns", 53) for each in DNS),
    *(("robot-backend", "player", port) for port in PORTS),
}
# Namespaces of others have no policies here, so what a simulator may send arrives there.
CLUSTER = {("simulator with cluster", each, port) for each in ("ingress", "prometheus", "grafana", "other pod")
           for port in PORTS}


def test_pods_speak_to_whom_they_must_and_to_nobody_else() -> None:
    """S0-70, S2-24, S4-20."""
    assert ours(rendered("base")) == EDGES | CLUSTER


@pytest.mark.parametrize(("component", "added"), [
    ("ingress", {("ingress", "minio", 9000)}),
    ("backup", {("backup-postgres", "postgres", 5432), ("backup-s3", "minio", 9000),
                *((each, "dns", 53) for each in ("backup-postgres", "backup-s3", "restore-drill"))}),
    ("monitoring", set())])
def test_a_component_adds_its_own_edges_alone(component: str, added: set[tuple[str, str, int]]) -> None:
    assert ours(base_with(component)) == EDGES | CLUSTER | added


@pytest.mark.parametrize("namespace", ["robot", "robot-sims"])
def test_nothing_is_allowed_to_start_with(namespace: str) -> None:
    deny = rendered("base")["NetworkPolicy", namespace, "default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def outside(who: tuple[str, Labels], address: str, port: int) -> bool:
    """Whether this pod may speak to this address, which is no pod's."""
    target = ip_address(address)
    for rule in rules(rendered("base"), who, "egress") or []:
        for block in [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]:
            within = target in ip_network(block["cidr"])
            excepted = any(target in ip_network(each) for each in block.get("except", []))
            if within and not excepted and ("ports" not in rule or port in [each["port"] for each in rule["ports"]]):
                return True
    return False


METADATA, API_SERVER, NODE, WORLD = "169.254.169.254", "10.96.0.1", "192.168.49.2", "93.184.215.14"


@pytest.mark.parametrize(("name", "reached"), [
    ("robot-worker", {(API_SERVER, 443), (API_SERVER, 6443), (NODE, 8443), (WORLD, 443)}),
    ("robot-watcher", {(API_SERVER, 443), (API_SERVER, 6443), (NODE, 8443), (WORLD, 443)}),
    ("robot-backend", {(WORLD, 443), ("2606:4700::1", 443)}),
    ("robot-reader", set()), ("robot-flower", set()), ("postgres", set()), ("redis", set()),
    ("minio", set()), ("simulator", set()), ("simulator with cluster", set()), ("player", set()),
    ("simulator with internet", {(WORLD, 443), (WORLD, 80), ("2606:4700::1", 443)})])
def test_who_reaches_what_is_no_pod(name: str, reached: set[tuple[str, int]]) -> None:
    """S2-33: the API server for workers and watchers, registries of images for web, the world for simulators that may,
    metadata for nobody."""
    who = everybody(rendered("base"))[name]
    tried = {(METADATA, 80), (API_SERVER, 443), (API_SERVER, 6443), (NODE, 8443), (NODE, 10250), (WORLD, 443),
             (WORLD, 80), ("2606:4700::1", 443), ("fd00::1", 443), ("fe80::1", 80)}
    assert {(address, port) for address, port in tried if outside(who, address, port)} == reached


@pytest.mark.parametrize("kind", [Kind.PLAYBACK, Kind.INGEST])
def test_our_own_programs_reach_object_storage_and_web_and_are_reached_by_web_alone(kind: Kind) -> None:
    """As the runtime makes their pods: not by what this file says of them."""
    run = Run(Name(uuid4(), 1), kind, Program(command=("python",)), {}, 0, "token")
    labels = manifest(run, Site("robot", "robot-sims", "worker:1", "http://web"))["metadata"]["labels"]
    objects = everything()["base with ingress"]
    people = everybody(objects) | {"it": ("robot-sims", labels)}
    met = {(source, target, port) for source, target, port in edges(objects, people) if "it" in (source, target)}
    ways = {("robot-backend", "it", port) for port in PORTS} if kind == Kind.PLAYBACK else set()
    assert met == {("it", "robot-backend", 8000), ("it", "minio", 9000), ("it", "dns", 53)} | ways
    assert not any(outside(("robot-sims", labels), address, 443) for address in (API_SERVER, NODE, WORLD, METADATA))


def test_every_policy_selects_somebody() -> None:
    people = list(everybody(base_with("ingress", "backup")).values())
    for each in of_kind(base_with("ingress", "backup"), "NetworkPolicy").values():
        where, selector = each["metadata"]["namespace"], each["spec"]["podSelector"]
        assert [who for who in people if who[0] == where and selects(selector, who[1])]
