"""The Kubernetes API as the runtime needs it: pods of one namespace as plain dictionaries, errors as ours. Every call
has a time limit. Called by the runtime and its view."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from shared.domain.errors import Conflict, InvalidSpec, NotFound, Unavailable
from workers.runtimes.base import NotMade
from workers.runtimes.kubernetes.pods import Body

TIMEOUT_SECONDS = (3.05, 10.0)  # to connect, and between two bytes
WATCH_SECONDS = 50
PAGE = 500
RIGHTS = "give the worker's service account the rights in k8s/base/rbac.yaml"
# What a 403 says that is not the pod's fault, and what can be done. Any other is an admission's word on this very pod
# (a LimitRange, Pod Security, a webhook), and would be the same the next time.
PASSING = {
    "exceeded quota": "wait, or raise the ResourceQuota of k8s/base/resourcequota.yaml",
    "status unknown for quota": "", "not yet ready to handle request": "",
    "is being terminated": "make the namespace anew",
    "error looking up service account": "wait: a namespace gets its service account just after it is made"} | {
    f"cannot {verb} resource": RIGHTS for verb in ("create", "get", "list", "watch", "delete", "patch")}
ANOTHER = "metadata.uid: Invalid value"  # a patch that names the uid of a pod that was there before is 422, not 409


class Expired(Exception):
    """The revision asked for is no longer kept; what is there has to be listed anew."""


class Cluster:
    """The pods of a namespace. Raises NotFound, Conflict (a name that is taken, a precondition that does not hold),
    InvalidSpec (the API server understood and will not have it), and Unavailable for everything that may pass: NotMade
    where nothing was done and nothing will be."""

    def __init__(self, namespace: str, kubeconfig: Path | None = None) -> None:
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._ahead = timedelta()  # of our clock

    def now(self) -> datetime:
        """The time by the API server's clock, as it was told last: pods are full of its times."""
        return datetime.now(UTC) + self._ahead

    def create(self, pod: Body) -> Body:
        """Make a pod. That there is no such namespace is not the pod's fault."""
        try:
            return self._call("POST", body=pod)
        except NotFound as missing:
            raise NotMade(f"Kubernetes has no place for pods: {missing.detail}", code="runtime_unavailable",
                          remedy="make the namespace, or set SIM_NAMESPACE to one that is there") from missing

    def get(self, name: str) -> Body:
        """A pod as it is now: a strong read."""
        return self._call("GET", name)

    def find(self, selector: str) -> tuple[list[Body], str]:
        """All pods that it picks, and the revision as of which that is so."""
        found: list[Body] = []
        query: list[tuple[str, Any]] = [("labelSelector", selector), ("limit", PAGE)]
        token = ""
        while True:
            page = self._call("GET", query=[*query, ("continue", token)] if token else query)
            found += page["items"]
            token = page["metadata"].get("continue") or ""
            if not token:
                return found, page["metadata"]["resourceVersion"]

    def watch(self, selector: str, revision: str) -> Iterator[Body]:
        """Events after this revision, bookmarks among them, until the server or a timeout ends it. Raises Expired."""
        query = [("labelSelector", selector), ("watch", "true"), ("allowWatchBookmarks", "true"),
                 ("resourceVersion", revision), ("timeoutSeconds", WATCH_SECONDS)]
        with _translated():
            answer = self._send("GET", "", query, None, timeout=(TIMEOUT_SECONDS[0], WATCH_SECONDS + 10))
            try:
                for line in _lines(answer):
                    event: Body = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Expired(event["object"].get("message", "")) if event["object"].get("code") == 410 \
                            else Unavailable(f"the watch ended: {event['object']}", code="runtime_unavailable")
                    yield event
            finally:
                answer.release_conn()
                answer.close()

    def delete(self, name: str, uid: str, grace_seconds: int | None = None) -> None:
        """Have it stopped and deleted, with its whole grace unless stated; Conflict when it is another by now."""
        body: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        self._call("DELETE", name, body=body)

    def patch(self, name: str, change: Body) -> None:
        """Merge this into a pod; Conflict when the change names the uid of another."""
        self._call("PATCH", name, body=change)

    def _call(self, method: str, name: str = "", *, query: list[tuple[str, Any]] | None = None,
              body: Body | None = None) -> Body:
        with _translated():
            answer = self._send(method, f"/{name}" if name else "", query or [], body)
            found: Body = json.loads(answer.data)
        return found

    def _send(self, method: str, place: str, query: list[tuple[str, Any]], body: Body | None, *,
              timeout: tuple[float, float] | None = None) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": kind}
        answer = self._client.call_api(
            f"/api/v1/namespaces/{self.namespace}/pods{place}", method, query_params=query, header_params=headers,
            body=body, auth_settings=["BearerToken"], _preload_content=False, _return_http_data_only=True,
            _request_timeout=timeout or TIMEOUT_SECONDS)
        with suppress(KeyError, ValueError):
            self._ahead = parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)
        return answer

    @cached_property
    def _client(self) -> client.ApiClient:
        """As a pod of the cluster, or as the kubeconfig says."""
        settings = client.Configuration()
        if self._kubeconfig is not None:
            config.load_kube_config(str(self._kubeconfig), client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
        settings.retries = False
        return client.ApiClient(settings)


def _lines(answer: Any) -> Iterator[bytes]:
    """Each whole line as soon as it is there."""
    held = b""
    for piece in answer.stream(amt=None, decode_content=False):
        *whole, held = (held + piece).split(b"\n")
        yield from (line for line in whole if line)


class _translated:
    """Turns what the client raises into errors of ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, ApiException):
            raise _ours(error) from error
        if isinstance(error, ConfigException):
            raise NotMade(f"there is no way to the cluster: {error}", code="runtime_unavailable",
                          remedy="run in a pod with a service account, or set KUBECONFIG") from error
        if isinstance(error, HTTPError | OSError | ValueError):
            failure = NotMade if isinstance(error, NewConnectionError | ConnectTimeoutError) else Unavailable
            raise failure(f"the Kubernetes API server does not answer: {error}", code="runtime_unavailable",
                          remedy="see that it runs and that KUBECONFIG names it") from error


def _ours(error: ApiException) -> Exception:
    """The API server's answer; its text names verb, resource and namespace."""
    said = _message(error)
    if error.status == 404:
        return NotFound(said)
    if error.status == 409 or (error.status == 422 and ANOTHER in said):
        return Conflict(said)
    if error.status == 410:
        return Expired(said)
    passing = next((remedy for words, remedy in PASSING.items() if words in said), None)
    if error.status in (400, 413, 422) or (error.status == 403 and passing is None):
        return InvalidSpec(f"Kubernetes will not have its pod: {said}"[:1000])
    failure = NotMade if error.status in (401, 403, 429) else Unavailable
    remedy = "see that the token that the worker shows is a valid one" if error.status == 401 else passing
    return failure(f"Kubernetes answers {error.status}: {said}", code="runtime_unavailable", remedy=remedy or None)


def _message(error: ApiException) -> str:
    body = error.body if isinstance(error.body, str | bytes) else b""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


