"""What may be asked of the Kubernetes API, by whom."""

from tests.k8s.rendering import everything, of_kind, pods, rendered

RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list", "watch", "delete", "patch"]}]


def test_workers_and_watchers_may_handle_pods_of_simulators_and_nothing_else() -> None:
    """S0-71, S4-20, BR-3."""
    base = rendered("base")
    assert {key[:2] for key in base if "Role" in key[0]} == {("Role", "robot-sims"), ("RoleBinding", "robot-sims")}
    assert base["Role", "robot-sims", "simyard-runner"]["rules"] == RULES
    binding = base["RoleBinding", "robot-sims", "simyard-runner"]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "simyard-runner"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "simyard-runner", "namespace": "robot"}]


def test_nobody_else_has_so_much_as_a_token() -> None:
    for name, objects in everything().items():
        for workload, pod in pods(objects).items():
            spec = pod["spec"]
            if workload in ("robot-worker", "robot-watcher"):
                assert spec["serviceAccountName"] == "simyard-runner"
            elif workload != "metrics-server":
                assert spec["automountServiceAccountToken"] is False, (name, workload)
                assert "serviceAccountName" not in spec


def test_no_component_but_the_metrics_server_adds_a_right() -> None:
    for name, objects in everything().items():
        roles = set(of_kind(objects, "Role", "ClusterRole"))
        if name in ("base with metrics-server-dev", "overlays/dev"):
            roles -= {"system:metrics-server", "system:aggregated-metrics-reader"}
        assert roles <= {"simyard-runner"}, name
