"""What the API does with namespaces and pods: creates, patches and deletes them by Kubernetes' rules. The HTTP side and
the nodes call it; a Refusal says why something was not done."""

import base64
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tests.cluster import defaults, names, patches, schema, security, validation
from tests.cluster.refusals import KINDS, already_exists, bad_request, conflict, expired, forbidden, invalid, not_found
from tests.cluster.store import Body, Store, Version
from tests.cluster.watches import Selection

_READ_ONLY = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
              "generateName", "generation", "resourceVersion")
_ENDED = ("Succeeded", "Failed")


class Registry:
    """The objects of `store` behind Kubernetes' rules."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pod_quotas: dict[str, int] = {}  # namespace: pods that may live there
        self._pages: OrderedDict[str, list[Version]] = OrderedDict()

    def create(self, resource: str, namespace: str | None, body: Any, *, strict: bool = False,
               dry_run: bool = False) -> Version:
        object_ = schema.shape(resource, _own_kind(resource, body), strict)
        metadata = object_.setdefault("metadata", {})
        if namespace is not None and metadata.get("namespace") not in (None, namespace):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
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
            _refuse_causes(resource, name, validation.check_change(resource, old.body, new))
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
            return self.store.remove(Version(old.resource, new))
        return self.store.put(old.resource, new | {"metadata": dict(metadata)})

    def delete(self, resource: str, namespace: str, name: str, *, grace_seconds: int | None = None,
               uid: str | None = None, resource_version: str | None = None) -> Version:
        with self.store.lock:
            old = self.get(resource, namespace, name)
            _check_deletion(old, uid, resource_version)
            if resource != "pods":
                return self.store.remove(old)
            return self._delete_pod(old, grace_seconds)

    def _delete_pod(self, old: Version, grace_seconds: int | None) -> Version:
        spec, status = old.body["spec"], old.body["status"]
        grace = spec["terminationGracePeriodSeconds"] if grace_seconds is None else grace_seconds
        if "nodeName" not in spec or status["phase"] in _ENDED:
            grace = 0
        before = old.body["metadata"].get("deletionGracePeriodSeconds")
        if before is not None and grace >= before:
            return old
        metadata = old.body["metadata"] | {
            "deletionTimestamp": defaults.timestamp(grace), "deletionGracePeriodSeconds": grace}
        if grace == 0 and not metadata.get("finalizers"):
            return self.store.remove(Version("pods", old.body | {"metadata": metadata}))
        return self.store.put("pods", old.body | {"metadata": metadata})

    def page(self, selection: Selection, limit: int, token: str) -> tuple[list[Version], int, str, int | None]:
        """Objects, the revision that they are of, the token of what follows ("" when nothing does) and how many do."""
        if token:
            revision, found = self._continue(token)
        else:
            with self.store.lock:
                revision = self.store.revision
                found = [version for version in self.store.objects(selection.resource, selection.namespace)
                         if selection.takes(version)]
        if not limit or len(found) <= limit:
            return found, revision, "", None
        rest = found[limit:]
        following = base64.urlsafe_b64encode(json.dumps({"rv": revision, "start": rest[0].key}).encode()).decode()
        self._pages[following] = rest
        while len(self._pages) > 100:
            self._pages.popitem(last=False)
        return found[:limit], revision, following, len(rest)

    def _continue(self, token: str) -> tuple[int, list[Version]]:
        try:
            return json.loads(base64.urlsafe_b64decode(token))["rv"], self._pages[token]
        except (ValueError, TypeError):
            raise bad_request("continue key is not valid") from None
        except KeyError:
            raise expired("The provided continue parameter is too old to display a consistent list result. You can "
                          "start a new list without the continue parameter.") from None

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
    if asked.get("uid", metadata["uid"]) != metadata["uid"]:
        raise conflict(resource, metadata["name"], f"Precondition failed: UID in precondition: {asked['uid']}, "
                       f"UID in object meta: {metadata['uid']}")
    if asked.get("resourceVersion") not in (None, "", metadata["resourceVersion"]):
        raise conflict(resource, metadata["name"], "the object has been modified; please apply your changes to the "
                       "latest version and try again")


def _check_deletion(old: Version, uid: str | None, resource_version: str | None) -> None:
    metadata = old.body["metadata"]
    for word, asked, actual in (("UID", uid, metadata["uid"]),
                                ("ResourceVersion", resource_version, metadata["resourceVersion"])):
        if asked is not None and asked != actual:
            raise conflict(old.resource, metadata["name"], f"the {word} in the precondition ({asked}) does not match "
                           f"the {word} in record ({actual}). The object might have been deleted and then recreated")
