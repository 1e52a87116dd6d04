"""The forms that Kubernetes asks of names, labels and annotations, and how it words that one is wrong."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.cluster.refusals import Cause

MAX_ANNOTATION_BYTES = 262_144


@dataclass(frozen=True)
class Form:
    """A pattern, the most characters, and what is said of a text that does not fit."""

    pattern: str
    longest: int
    says: str

    def fault(self, text: str) -> str | None:
        if len(text) > self.longest:
            return f"must be no more than {self.longest} characters"
        if re.fullmatch(self.pattern, text):
            return None
        return f"{self.says}, regex used for validation is '{self.pattern}')"

    def check(self, field: str, text: str) -> Iterator[Cause]:
        if fault := self.fault(text):
            yield invalid_value(field, text, fault)


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
DNS_LABEL = Form(_LABEL, 63, "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                 "and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc'")
DNS_SUBDOMAIN = Form(rf"{_LABEL}(\.{_LABEL})*", 253, "a lowercase RFC 1123 subdomain must consist of lower case "
                     "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
                     "'example.com'")
LABEL_VALUE = Form(f"({_QUALIFIED})?", 63, "a valid label must be an empty string or consist of alphanumeric "
                   "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
                   "'MyValue',  or 'my_value',  or '12345'")
NAME_PART = Form(_QUALIFIED, 63, "name part must consist of alphanumeric characters, '-', '_' or '.', and must start "
                 "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc'")
ENV_NAME = Form(r"[ -<>-~]+", 1 << 20, "a valid environment variable name must consist only of printable ASCII "
                "characters other than '=' (e.g. 'MY_ENV'")


def invalid_value(field: str, value: Any, why: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else value
    return Cause(field, f"Invalid value: {shown}: {why}")


def required(field: str) -> Cause:
    return Cause(field, "Required value", "FieldValueRequired")


def check_qualified(field: str, key: str) -> Iterator[Cause]:
    """A key of labels and annotations, or a finalizer: `name` or `prefix/name`."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        yield invalid_value(field, key, f"a qualified {NAME_PART.fault('')} with an optional DNS subdomain prefix and "
                            "'/' (e.g. 'example.com/MyName')")
        return
    if slash and (fault := DNS_SUBDOMAIN.fault(prefix)):
        yield invalid_value(field, key, f"prefix part {fault}")
    yield from NAME_PART.check(field, name)


def check_metadata(metadata: dict[str, Any], name_form: Form) -> list[Cause]:
    return [*name_form.check("metadata.name", metadata["name"]), *_check_labels(metadata.get("labels", {})),
            *_check_annotations(metadata.get("annotations", {})), *_check_finalizers(metadata.get("finalizers", []))]


def _check_labels(labels: dict[str, str]) -> Iterator[Cause]:
    for key, value in labels.items():
        yield from check_qualified("metadata.labels", key)
        yield from LABEL_VALUE.check("metadata.labels", value)


def _check_annotations(annotations: dict[str, str]) -> Iterator[Cause]:
    for key in annotations:
        yield from check_qualified("metadata.annotations", key.lower())
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAX_ANNOTATION_BYTES:
        yield Cause("metadata.annotations", f"Too long: may not be more than {MAX_ANNOTATION_BYTES} bytes",
                    "FieldValueTooLong")


def _check_finalizers(finalizers: list[str]) -> Iterator[Cause]:
    for index, finalizer in enumerate(finalizers):
        field = f"metadata.finalizers[{index}]"
        yield from check_qualified(field, finalizer)
        if "/" not in finalizer and finalizer not in ("orphan", "foregroundDeletion", "kubernetes"):
            yield invalid_value(field, finalizer, "name is neither a standard finalizer name nor is it fully qualified")
