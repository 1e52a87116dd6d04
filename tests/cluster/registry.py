"""What the API does with namespaces and pods: creates, patches and deletes them by Kubernetes' rules. The HTTP side and
the nodes call it; a Refusal says why something was not done."""

import base64
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tests.cluster import changes, defaults, names, patches, schema, security, validation
from tests.cluster.refusals import (
    KINDS,
    Cause,
    already_exists,
    bad_request,
    conflict,
    expired,
    forbidden,
    invalid,
    not_found,
    terminating,
)
from tests.cluster.store import Body, Store, Version
from tests.cluster.watches import Change, Selection

_READ_ONLY = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
              "generateName", "generation", "resourceVersion")
_ENDED = ("Succeeded", "Failed")


class Registry:
    """The objects of `store` behind Kubernetes' rules."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pod_quotas: dict[str, int] = {}  # namespace: pods that may live there
        self._pages: OrderedDict[str, list[Version]] = OrderedDict()
        store.subscribe(self._hear)

    def create(self, resource: str, namespace: str | None, body: Any, *, strict: bool = False,
               dry_run: bool = False) -> Version:
        object_ = schema.shape(resource, _own_kind(resource, body), strict)
        metadata = object_.setdefault("metadata", {})
        if namespace is not None and metadata.get("namespace") not in (None, namespace):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if not metadata.get("name") and not metadata.get("generateName"):
            raise invalid(resource, "", [Cause("metadata.name", "Required value: name or generateName is required",
                                               "FieldValueRequired")])
        object_["metadata"] = defaults.complete_metadata(metadata, namespace)
        with self.store.lock:
            if resource == "pods":
                assert namespace is not None
                object_ = self._admit_pod(namespace, object_)
            else:
                object_ = _complete_namespace(object_)
            known = self.store.get(resource, namespace or "", object_["metadata"]["name"])
            if known is not None:
                raise already_exists(resource, known.key[2], "deletionTimestamp" in known.body["metadata"])
            return Version(resource, object_) if dry_run else self.store.put(resource, object_)

    def _admit_pod(self, namespace: str, pod: Body) -> Body:
        home = self.store.get("namespaces", "", namespace)
        if home is None:
            raise not_found("namespaces", namespace)
        name = pod["metadata"]["name"]
        if "deletionTimestamp" in home.body["metadata"]:
            raise terminating(name, namespace)
        _refuse_causes("pods", name, validation.check_pod(pod))
        spec = defaults.complete_spec(pod["spec"])
        if home.body["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") == "restricted" and (
                violations := security.find_violations(spec)):
            raise forbidden("pods", name, f'violates PodSecurity "restricted:latest": {", ".join(violations)}')
        self._check_quota(namespace, name)
        return {"metadata": pod["metadata"], "spec": spec, "status": defaults.new_status(spec)}

    def _check_quota(self, namespace: str, name: str) -> None:
        limit = self.pod_quotas.get(namespace)
        if limit is None:
            return
        used = sum(pod.body["status"]["phase"] not in _ENDED for pod in self.store.objects("pods", namespace))
        if used >= limit:
            raise forbidden("pods", name, f"exceeded quota: pods, requested: pods=1, used: pods={used}, "
                            f"limited: pods={limit}")

    def get(self, resource: str, namespace: str, name: str) -> Version:
        version = self.store.get(resource, namespace, name)
        if version is None:
            raise not_found(resource, name)
        return version

    def patch(self, resource: str, namespace: str, name: str, media_type: str, document: Any, *,
              status: bool = False, strict: bool = False) -> Version:
        """`status`: only the status is changed; else everything but the status."""
        with self.store.lock:
            old = self.get(resource, namespace, name)
            patched = patches.patch(old.body, media_type, document)
            new = schema.shape(resource, _own_kind(resource, patched), strict)
            _check_preconditions(resource, old, new.get("metadata", {}))
            kept = {"spec"} if status else {"status"}
            new = {field: (old.body if field in kept else new).get(field, {}) for field in old.body}
            _refuse_causes(resource, name, changes.check_change(resource, old.body, new))
            return self._save(old, new)

    def change(self, pod: Version, change: Callable[[Body], Body]) -> Version | None:
        """For the cluster's own parts: what `change` makes of the pod as it is now; None when this one is gone."""
        with self.store.lock:
            now = self.same(pod)
            return now and self._save(now, change(now.body))

    def same(self, pod: Version) -> Version | None:
        """That very pod as it is now, None when it is gone, though one of its name may be there."""
        now = self.store.get(*pod.key)
        return now if now and now.body["metadata"]["uid"] == pod.body["metadata"]["uid"] else None

    def _save(self, old: Version, new: Body) -> Version:
        metadata = {field: value for field, value in new["metadata"].items() if field not in _READ_ONLY}
        kept = {field: value for field, value in old.body["metadata"].items() if field in _READ_ONLY}
        metadata = {field: value for field, value in metadata.items() if value} | kept
        new = new | {"metadata": metadata}
        if new == old.body:
            return old
        if metadata.get("deletionGracePeriodSeconds") == 0 and not metadata.get("finalizers"):
            self.store.remove(old)
            return Version(old.resource, new)
        return self.store.put(old.resource, new | {"metadata": dict(metadata)})

    def delete(self, resource: str, namespace: str, name: str, *, grace_seconds: int | None = None,
               uid: str | None = None, resource_version: str | None = None) -> Version:
        with self.store.lock:
            old = self.get(resource, namespace, name)
            _check_deletion(old, uid, resource_version)
            grace = grace_seconds if grace_seconds is None or grace_seconds >= 0 else 1
            if resource == "namespaces":
                return self._end_namespace(old)
            if "deletionTimestamp" in old.body["metadata"]:
                return self._hasten(old, grace)
            spec, status = old.body["spec"], old.body["status"]
            if "nodeName" not in spec or status["phase"] in _ENDED:
                grace = 0
            grace = spec["terminationGracePeriodSeconds"] if grace is None else grace
            return self._mark_deleted(old, defaults.timestamp(grace), grace)

    def _hasten(self, old: Version, grace: int | None) -> Version:
        """What is being deleted already: a grace can only be shortened, and counts from the first request."""
        metadata = old.body["metadata"]
        before = metadata["deletionGracePeriodSeconds"]
        if grace is None or grace >= before:
            return old
        return self._mark_deleted(old, defaults.earlier(metadata["deletionTimestamp"], before - grace), grace)

    def _mark_deleted(self, old: Version, when: str, grace: int) -> Version:
        """The object goes when its grace is none and nothing holds it: two changes."""
        metadata = old.body["metadata"] | {"deletionTimestamp": when, "deletionGracePeriodSeconds": grace}
        version = self.store.put(old.resource, old.body | {"metadata": metadata})
        if grace == 0 and not metadata.get("finalizers"):
            self.store.remove(version)
        return version

    def _end_namespace(self, old: Version) -> Version:
        """It is terminating until its last pod is gone, all of which are deleted."""
        if "deletionTimestamp" in old.body["metadata"]:
            return old
        metadata = old.body["metadata"] | {"deletionTimestamp": defaults.timestamp()}
        version = self.store.put("namespaces", old.body | {"metadata": metadata, "status": {"phase": "Terminating"}})
        for pod in self.store.objects("pods", old.key[2]):
            self.delete(*pod.key)
        self._let_go(old.key[2])
        return version

    def _let_go(self, namespace: str) -> None:
        """Of a namespace that is to end."""
        home = self.store.get("namespaces", "", namespace)
        if home and "deletionTimestamp" in home.body["metadata"] and not self.store.objects("pods", namespace):
            self.store.remove(home)

    def _hear(self, change: Change) -> None:
        if change.new is None and change.version.resource == "pods":
            self._let_go(change.version.key[1])

    def page(self, selection: Selection, limit: int, token: str) -> tuple[list[Version], int, str, int | None]:
        """Objects, the revision that they are of, the token of what follows ("" when nothing does) and how many do:
        not counted where something is selected."""
        if token:
            revision, found = self._continue(token)
        else:
            with self.store.lock:
                revision = self.store.revision
                found = [version for version in self.store.objects(selection.resource, selection.namespace)
                         if selection.takes(version)]
        if limit <= 0 or len(found) <= limit:
            return found, revision, "", None
        rest = found[limit:]
        following = base64.urlsafe_b64encode(json.dumps({"rv": revision, "start": rest[0].key}).encode()).decode()
        self._pages[following] = rest
        while len(self._pages) > 100:
            self._pages.popitem(last=False)
        return found[:limit], revision, following, None if selection.is_narrow else len(rest)

    def _continue(self, token: str) -> tuple[int, list[Version]]:
        try:
            return json.loads(base64.urlsafe_b64decode(token))["rv"], self._pages[token]
        except (ValueError, TypeError):
            raise bad_request("continue key is not valid") from None
        except KeyError:
            raise expired("The provided continue parameter is too old to display a consistent list result. You can "
                          "start a new list without the continue parameter, or use the continue token in this response "
                          "to retrieve the remainder of the results.") from None

    def forget_pages(self) -> None:
        self._pages.clear()


def _own_kind(resource: str, body: Any) -> Body:
    """Kind and apiVersion may be left out; they are not kept with the object."""
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type "
                          f"{KINDS[resource]}): couldn't get version/kind")
    kind, version = body.get("kind") or KINDS[resource], body.get("apiVersion") or "v1"
    if (version, kind) != ("v1", KINDS[resource]):
        raise bad_request(f"{kind} in version \"{version}\" cannot be handled as a {KINDS[resource]}")
    return {field: value for field, value in body.items() if field not in ("kind", "apiVersion")}


def _complete_namespace(namespace: Body) -> Body:
    metadata = namespace["metadata"]
    _refuse_causes("namespaces", metadata["name"], names.check_metadata(metadata, names.DNS_LABEL))
    labels = metadata.get("labels", {}) | {"kubernetes.io/metadata.name": metadata["name"]}
    return {"metadata": metadata | {"labels": labels}, "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}}


def _refuse_causes(resource: str, name: str, causes: list[Any]) -> None:
    if causes:
        raise invalid(resource, name, causes)


def _check_preconditions(resource: str, old: Version, asked: Body) -> None:
    metadata = old.body["metadata"]
    if asked.get("name", metadata["name"]) != metadata["name"]:
        raise bad_request(f'the name of the object ({asked["name"]}) does not match the name on the URL '
                          f'({metadata["name"]})')
    namespace = metadata.get("namespace")
    if asked.get("namespace", namespace) != namespace:
        raise bad_request(f'the namespace of the object ({asked["namespace"]}) does not match the namespace on the '
                          f'request ({namespace})')
    if asked.get("resourceVersion") not in (None, "", "0", metadata["resourceVersion"]):
        raise conflict(resource, metadata["name"], "the object has been modified; please apply your changes to the "
                       "latest version and try again")


def _check_deletion(old: Version, uid: str | None, resource_version: str | None) -> None:
    """Kubernetes names the kind here, where other conflicts name the resource."""
    metadata = old.body["metadata"]
    for word, asked, actual, fate in (
            ("UID", uid, metadata["uid"], "deleted and then recreated"),
            ("ResourceVersion", resource_version, metadata["resourceVersion"], "modified")):
        if asked is not None and asked != actual:
            raise conflict(KINDS[old.resource], metadata["name"], f"the {word} in the precondition ({asked}) does not "
                           f"match the {word} in record ({actual}). The object might have been {fate}")
