"""The environment, read once into frozen, validated objects; each process builds the class with what it needs."""

import os
import sys
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Count = Annotated[int, Field(ge=1)]
INSTANCES_ON_A_CLUSTER = 100
SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def patterns(text: str) -> list[str]:
    """Those in a setting that lists them separated by commas."""
    return [each.strip() for each in text.split(",") if each.strip()]


class DatabaseSettings(BaseSettings):
    """What migrations need. The names of all settings are those of the environment, in lower case."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True)

    database_url: SecretStr

    @field_validator("database_url", mode="before")
    @classmethod
    def _uses_our_driver(cls, value: Any) -> Any:
        scheme, separator, rest = str(value).partition("://")
        if not separator or scheme.split("+")[0] not in ("postgresql", "postgres"):
            raise ValueError("must start with postgresql://")
        return f"postgresql+psycopg2://{rest}"


class Settings(DatabaseSettings):
    """What every process needs."""

    redis_url: SecretStr
    minio_endpoint: Annotated[str, Field(pattern=r"^[^/:\s]+(:\d{1,5})?$")]
    minio_access_key: SecretStr
    minio_secret_key: SecretStr
    minio_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = "robot-sim"
    minio_use_ssl: bool = False
    minio_public_endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$")] | None = None
    runtime: Literal["local", "kubernetes"] = "local"
    execution_timeout_seconds: Annotated[float, Field(gt=0)] = 30
    execution_memory_limit_mb: Count = 512
    max_running_instances: Annotated[int, Field(ge=0)] | None = None
    max_running_playbacks: Annotated[int, Field(ge=0)] = 20
    max_running_ingests: Annotated[int, Field(ge=0)] = 4
    max_running_per_user: Count | None = None
    max_queued_per_user: Count | None = None
    max_stored_bytes_per_user: Count | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otel_exporter_otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _has_the_packages(cls, value: str | None) -> str | None:
        if value is not None and find_spec("opentelemetry") is None:
            raise ValueError("traces need the packages of the extra otel: pip install 'simyard[otel]'")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("must start with redis:// or rediss://")
        return value

    @cached_property
    def slots(self) -> dict[str, int]:
        """How many jobs of each kind may be live at once; instances as stated, or two for each core of this machine,
        a hundred on a cluster."""
        usual = 2 * (os.cpu_count() or 1) if self.runtime == "local" else INSTANCES_ON_A_CLUSTER
        instances = usual if self.max_running_instances is None else self.max_running_instances
        return {"instance": instances, "playback": self.max_running_playbacks, "ingest": self.max_running_ingests}


class WebSettings(Settings):
    """What web needs besides: signing tokens, and the ceilings that submissions are held against."""

    secret_key: SecretStr
    algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"
    access_token_expire_minutes: Annotated[int, Field(ge=1, le=1440)] = 30
    api_str: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$")] = "/api/v1"
    simyard_environment: Literal["production", "development"] = "production"
    max_instances_per_simulation: Count = 100_000
    max_run_seconds: Annotated[float, Field(gt=0)] = 86_400
    max_memory_mb: Count = 65_536
    max_gpus: Annotated[int, Field(ge=0)] = 0
    allowed_images: str = ""
    resolve_images: bool | None = None
    insecure_registries: str = ""
    registry_credentials: FilePath | None = None
    command_image: str | None = None
    allowed_network: Literal["none", "cluster", "internet"] = "none"
    allowed_node_labels: str = ""
    allowed_tolerations: str = ""
    allowed_pull_secrets: str = ""
    allow_writable_root: bool = False
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    simyard_reader_url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$")] = "http://127.0.0.1:8010"
    simyard_reader_token: SecretStr = SecretStr("")

    @cached_property
    def image_patterns(self) -> list[str]:
        """The patterns in ALLOWED_IMAGES, separated by commas; none allow every image."""
        return patterns(self.allowed_images)

    @property
    def resolves_images(self) -> bool:
        """Whether tags are resolved to digests: as stated, or where containers run."""
        return self.runtime == "kubernetes" if self.resolve_images is None else self.resolve_images

    @cached_property
    def insecure_hosts(self) -> frozenset[str]:
        """The registries, each with its port, that are spoken to by plain HTTP."""
        return frozenset(patterns(self.insecure_registries))

    @model_validator(mode="after")
    def _has_a_command_image_that_stays(self) -> "WebSettings":
        if self.resolves_images and self.command_image is not None and "@sha256:" not in self.command_image:
            raise ValueError("COMMAND_IMAGE must state a digest, name@sha256:..., unless RESOLVE_IMAGES is false")
        return self

    @model_validator(mode="after")
    def _has_a_long_secret(self) -> "WebSettings":
        if self.simyard_environment == "production" and len(self.secret_key.get_secret_value().encode()) < 32:
            raise ValueError("SECRET_KEY must have at least 32 bytes (SIMYARD_ENVIRONMENT=development allows less)")
        return self


class WorkerSettings(Settings):
    """What workers and the watcher need besides: where programs run, and where their recorders find web."""

    storage_base_dir: Path | None = None
    kube_namespace: Namespace = "robot"
    sim_namespace: Namespace = "robot-sims"
    recorder_image: str | None = None
    kubeconfig: Path | None = None
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = 10
    audit_keep_days: Count = 365
    simyard_endpoints: Path | None = None
    # Handed on to programs, which get nothing else of our environment.
    path: str = os.defpath
    home: str | None = None
    lang: str | None = None
    simyard_internal_url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$")] = "http://127.0.0.1:8000"
    simyard_player_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")] = "127.0.0.1"

    def for_programs(self) -> dict[str, str]:
        """The part of our own environment that programs see."""
        inherited = {"PATH": self.path, "HOME": self.home, "LANG": self.lang}
        return {name: value for name, value in inherited.items() if value is not None}

    @property
    def base_dir(self) -> Path:
        """STORAGE_BASE_DIR, which the local runtime has to have."""
        if self.storage_base_dir is None:
            raise ValueError("STORAGE_BASE_DIR is needed with RUNTIME=local")
        return self.storage_base_dir

    @field_validator("storage_base_dir")
    @classmethod
    def _is_absolute(cls, value: Path | None) -> Path | None:
        return value and value.absolute()

    @model_validator(mode="after")
    def _has_what_its_runtime_needs(self) -> "WorkerSettings":
        if self.runtime == "local":
            _ = self.base_dir
        if self.runtime == "kubernetes" and self.recorder_image is None:
            raise ValueError("RECORDER_IMAGE is needed with RUNTIME=kubernetes: the image that these workers run in")
        return self


class ReaderSettings(BaseSettings):
    """What the reader needs, which is told nothing of where anything else is."""

    model_config = DatabaseSettings.model_config

    simyard_reader_listen: Annotated[str, Field(pattern=r"^[^\s]+:\d{1,5}$")] = "127.0.0.1:8010"
    simyard_reader_token: Annotated[SecretStr, Field(min_length=1)]
    simyard_reader_excerpts: Count | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @cached_property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.simyard_reader_listen.rpartition(":")
        return host, int(port)

    @cached_property
    def excerpts(self) -> int:
        """How many are made at once: stated, or two for each core of this machine."""
        return self.simyard_reader_excerpts or 2 * (os.cpu_count() or 1)


class InstallSettings(WebSettings):
    """What the install step needs besides: the first administrator, and the files of the built-in templates."""

    simyard_admin_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)] | None = None
    simyard_admin_password: SecretStr | None = None
    simyard_templates: str = ""

    @cached_property
    def template_files(self) -> list[Path]:
        """The paths in SIMYARD_TEMPLATES, separated like PATH."""
        return [Path(each) for each in self.simyard_templates.split(os.pathsep) if each]

    @model_validator(mode="after")
    def _knows_the_whole_admin(self) -> "InstallSettings":
        password = self.simyard_admin_password
        if (self.simyard_admin_email is None) != (password is None):
            raise ValueError("SIMYARD_ADMIN_EMAIL and SIMYARD_ADMIN_PASSWORD go together")
        if password is not None and not 1 <= len(password.get_secret_value()) <= 1024:
            raise ValueError("SIMYARD_ADMIN_PASSWORD must have 1 to 1024 characters")
        return self


def read(kind: type[SettingsT]) -> SettingsT:
    """The settings of this process; ends it with exit code 78 and one line naming every setting that is wrong."""
    try:
        return kind()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc'])).upper() or 'settings'}: {item['msg']}"
                          for item in error.errors())
        print(f"simyard: wrong or missing settings: {wrong}", file=sys.stderr)
        sys.exit(os.EX_CONFIG)
