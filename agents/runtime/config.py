"""What an agent is told by the file that its installer leaves."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agents.runtime.identity import write_private


class ConfigError(Exception):
    """The file cannot be used; says which, and why."""


class AgentConfig(msgspec.Struct, kw_only=True):
    """One agent. extra is for the kind of agent, for example libvirt_uri."""

    host_uuid: str
    # host:port of the nodes, separated by commas, for the session and for enrolment.
    agent_endpoint: str
    enroll_endpoint: str = ""
    # One-time; gone from the file once it was used.
    token: str = ""
    # SHA-256 of the authority's certificate, in hex.
    ca_fingerprint: str = ""
    # Where journal, key and certificate are kept.
    directory: str
    extra: dict[str, str] = {}
    # The file all this is from; not part of it.
    path: str = ""

    def __repr__(self) -> str:
        return f"AgentConfig(host_uuid={self.host_uuid!r}, directory={self.directory!r})"

    @classmethod
    def load(cls, path: Path) -> AgentConfig:
        """Read the file; ConfigError when it is missing or not as it should be."""
        try:
            config = msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"agent configuration {path}: {error}") from error
        config.path = str(path)
        return config

    def forget_token(self) -> None:
        """The token has been used: take it out of the file."""
        self.token = ""
        if self.path:
            kept = {k: v for k, v in msgspec.to_builtins(self).items() if k not in ("token", "path")}
            write_private(Path(self.path), msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
