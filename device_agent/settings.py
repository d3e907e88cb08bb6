"""Settings of an agent: options of `s4op-agent`, or environment variables `S4OP_AGENT_...`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from edge_s4op.profiler.device_lock import default_device_lock

__all__ = ["Settings"]


class Settings(BaseSettings):
    """How one agent runs. Every field is also read from `S4OP_AGENT_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="S4OP_AGENT_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for the network")
    port: int = Field(default=8600, ge=0, le=65535, description="0 takes a free port")
    data_dir: Path = Field(default_factory=lambda: Path.home() / ".local/share/s4op-agent")
    port_file: Path | None = Field(default=None, description="written with the port once it listens")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = False
    backend: str = Field(default="onnxruntime", description="of requests that name none")
    engine_dir: Path | None = Field(default=None, description="of built engines; None: DATA_DIR/engines")
    build_memory_mb: int | None = Field(default=None, gt=0, description="MiB one engine build may take")
    build_timeout_s: float = Field(default=1800.0, gt=0, description="that one engine build may take")
    max_artifact_bytes: int = Field(default=1 << 30, gt=0)
    max_body_bytes: int = Field(default=64 << 20, gt=0, description="of an inference request")
    max_bodies_bytes: int = Field(
        default=256 << 20,
        gt=0,
        description="of all inference requests that are held at once, those above 64 KiB counted",
    )
    upload_idle_s: float = Field(default=30.0, gt=0, description="an upload silent so long is dropped")
    lease_wait_s: float = Field(
        default=10.0, ge=0, description="how long inference waits for a measurement before it gets 503"
    )
    while_measuring: Literal["refuse", "share"] = Field(
        default="refuse",
        description="refuse: inference waits for a measurement, then gets 503; share: it runs at once, "
        "and the measurement says that it was disturbed",
    )
    drain_s: float = Field(
        default=10.0, ge=0, description="how long requests in queues may take once the agent is told to stop"
    )
    stream_limit: int = Field(default=256, ge=1, description="streams and sequences open at once")
    stream_state_bytes: int = Field(default=256 << 20, gt=0, description="of their states together")
    stream_idle_s: float = Field(
        default=60.0, gt=0, description="a stream or sequence without samples for so long is ended"
    )
    device_lock: Path = Field(
        default_factory=default_device_lock,
        description="file locked meanwhile; the same for all who measure on this machine",
    )
