"""The configuration of recordings and of spans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from cluster.config.base import StrictModel
from deployments.observability.tracing.settings import TracingSettings
from deployments.recordings.settings import Content, KeepSettings, RecordingSettings, RotateSettings, is_local
from deployments.secrets import Secret

_SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")


class RotateConfig(StrictModel):
    """When a file is finished and the next one begun."""

    max_bytes: Annotated[int, Field(ge=64 * 1024)] = RotateSettings().max_bytes
    """Size of a file before compression that finishes it."""
    max_age_s: Annotated[float, Field(ge=1, le=86400)] = RotateSettings().max_age_s
    """Age of a file that finishes it."""


class KeepConfig(StrictModel):
    """How many days and bytes of files are kept."""

    days: Annotated[int, Field(ge=1)] | None = None
    """Days to keep files after their own; None keeps them."""
    max_bytes: Annotated[int, Field(ge=1024 * 1024)] | None = None
    """Maximum size of all finished files; None stands for no limit."""


class RecordingsConfig(StrictModel):
    """Where fused requests are recorded, and how much of their content."""

    path: Annotated[str, Field(min_length=1)]
    """Folder, or URL of an object store without credentials."""
    content: Literal["none", "hash", "full"] = "none"
    """What is kept of prompts and answers."""
    hash_key_env: Annotated[str, Field(min_length=1)] | None = None
    """Environment variable that holds the key for `content: hash`."""
    spool: Annotated[str, Field(min_length=1)] | None = None
    """Local folder that collects files for an object store; None uses the user's cache folder."""
    rotate: RotateConfig = RotateConfig()
    keep: KeepConfig = KeepConfig()

    @field_validator("path")
    @classmethod
    def _known(cls, path: str) -> str:
        url = urlsplit(path)
        if url.scheme and url.scheme not in _SCHEMES:
            raise ValueError(f"a folder or a URL with one of {', '.join(_SCHEMES)}, not {url.scheme}")
        if url.username or url.password:
            raise ValueError("the URL must not hold credentials: they come from the store's own environment variables")
        return path

    @model_validator(mode="after")
    def _consistent(self) -> RecordingsConfig:
        if self.content == "hash" and self.hash_key_env is None:
            raise ValueError(
                "content: hash needs hash_key_env: without a key, a guessed prompt can be recognised by its hash"
            )
        if self.content != "hash" and self.hash_key_env is not None:
            raise ValueError(f"hash_key_env belongs to content: hash, this is {self.content}")
        if self.spool is not None and is_local(self.path):
            raise ValueError("spool belongs to an object store; a folder needs none")
        return self

    def settings(self, config_hash: str, cache_dir: Path) -> RecordingSettings:
        """The settings of a judge replica. A relative folder is below the current one."""
        content: Content = self.content
        return RecordingSettings(
            path=str(Path(self.path).absolute()) if not urlsplit(self.path).scheme else self.path,
            spool=str(Path(self.spool).absolute() if self.spool else cache_dir / "recordings"),
            former_spool=None if self.spool else str(cache_dir / "traces"),
            content=content,
            hash_key=None if self.hash_key_env is None else Secret(env=self.hash_key_env),
            rotate=RotateSettings(**self.rotate.model_dump()),
            keep=KeepSettings(**self.keep.model_dump()),
            config_hash=config_hash,
        )


class TracingConfig(StrictModel):
    """Where spans go, and what is in them."""

    endpoint: str
    """Address of a collector's OTLP/HTTP traces."""
    headers_env: Annotated[str, Field(min_length=1)] | None = None
    """Environment variable that holds headers for the collector, such as its key."""
    service_name: Annotated[str, Field(min_length=1)] = "fusion-cluster"
    """`service.name` of every span."""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of traces that are sent, where the client's trace does not decide."""
    content: bool = False
    """Whether spans contain prompts and answers."""
    resource: dict[str, str] = Field(default_factory=dict[str, str])
    """Further resource attributes of every span."""

    @field_validator("endpoint")
    @classmethod
    def _reachable(cls, endpoint: str) -> str:
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.hostname or url.path in ("", "/"):
            raise ValueError(
                f"the whole address of a collector's OTLP/HTTP traces, such as http://127.0.0.1:4318/v1/traces, not "
                f"{url.scheme}://{url.hostname or ''}"
            )
        if url.username or url.query or url.fragment:
            raise ValueError("no credentials and no query: what opens the collector belongs into headers_env")
        return endpoint

    def settings(self, providers: Mapping[str, str]) -> TracingSettings:
        """Build the settings of a replica. `providers` are the backends' providers by backend."""
        headers = None if self.headers_env is None else Secret(env=self.headers_env)
        return TracingSettings(
            self.endpoint, headers, self.service_name, self.sample, self.content, self.resource, providers
        )
