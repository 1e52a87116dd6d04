"""The way into the cluster, and what asks web whether it is well."""

import pytest

from shared.connections import Connections
from shared.settings import WebSettings
from tests.k8s.rendering import K8S, OVERLAYS, everything, main_container, pods, rendered
from webapp import create_app


@pytest.fixture(scope="module")
def routes() -> set[str]:
    settings = WebSettings(
        _env_file=None, database_url="postgresql://u:p@127.0.0.1:9/none", redis_url="redis://127.0.0.1:9/0",
        minio_endpoint="127.0.0.1:9", minio_access_key="key", minio_secret_key="secret", secret_key="s" * 32)
    connections = Connections(settings, application="routes", pool_size=1)
    try:
        return {rule.rule for rule in create_app(settings, connections).url_map.iter_rules()}
    finally:
        connections.close()


def test_probes_are_as_stated_and_ask_for_what_is_there(routes: set[str]) -> None:
    """S0-64, S3-13, S3-21, S4-3."""
    for overlay in OVERLAYS:
        for workload, template in pods({key: each for key, each in rendered(overlay).items()
                                        if key[1] == "robot" and key[0] != "CronJob"}).items():
            for each in template["spec"]["containers"]:
                live = each["livenessProbe"]
                assert (live["initialDelaySeconds"], live["periodSeconds"]) == (30, 10), workload
                if each["name"] == "console":
                    continue
                ready = each["readinessProbe"]
                assert (ready["initialDelaySeconds"], ready["periodSeconds"]) == (5, 5), workload
    web = main_container(rendered("base"), "robot-backend")
    asked = [web[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    assert asked == ["/up", "/health/ready"]
    assert set(asked) <= routes


def test_the_ingress_routes_what_the_world_may_see_and_no_more(routes: set[str]) -> None:
    """S0-66, S0-69, S2-21."""
    ingress = everything()["base with ingress"]["Ingress", "robot", "robot-backend"]
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"]
    assert "cert-manager.io/cluster-issuer" in ingress["metadata"]["annotations"]
    paths = [(each["path"], each["pathType"]) for each in ingress["spec"]["rules"][0]["http"]["paths"]]

    def is_routed(route: str) -> bool:
        return any(route == path or (kind == "Prefix" and route.startswith(f"{path}/")) for path, kind in paths)

    inside = {route for route in routes if route == "/metrics" or route.startswith("/internal/")}
    assert len(inside) > 3
    assert [route for route in inside if is_routed(route)] == []
    assert [route for route in routes - inside if not is_routed(route)] == []
    stated = {name.rpartition("/")[2]: value for name, value in ingress["metadata"]["annotations"].items()}
    assert stated["proxy-buffering"] == "off"
    assert int(stated["proxy-read-timeout"]) >= 3600


def test_one_file_says_which_hosts() -> None:
    objects = everything()["base with ingress"]
    hosts = dict(line.split("=", 1) for line in (K8S / "components/ingress/hosts.env").read_text().splitlines()
                 if "=" in line)
    for name, host in (("robot-backend", hosts["host"]), ("minio", hosts["s3_host"])):
        ingress = objects["Ingress", "robot", name]
        assert [rule["host"] for rule in ingress["spec"]["rules"]] == ingress["spec"]["tls"][0]["hosts"] == [host]
        assert ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == hosts["issuer"]
    told = objects["ConfigMap", "robot", "robot-config"]["data"]
    assert told["MINIO_PUBLIC_ENDPOINT"] == f"https://{hosts['s3_host']}"
    assert told["TRUSTED_PROXIES"] == "1"
