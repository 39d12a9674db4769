"""Where a server listens, by which names it may be called, and its token. Imports nothing of the extra `serve`."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import secrets
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from video_opd.errors import ConfigurationError

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
TOKEN_VARIABLE = "VIDEO_OPD_SERVE_TOKEN"
SHORTEST_TOKEN = 16
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def require_packages() -> None:
    """Refuse to go on without what a server needs.

    Raises:
        ConfigurationError: a part of the extra is not installed.
    """
    if missing := [name for module, name in PACKAGES.items() if not find_spec(module)]:
        raise ConfigurationError(
            f"not installed: {', '.join(missing)}",
            reason="the page and the HTTP API need it",
            remedy="install the extra: `pip install 'video-opd[serve]'`",
        )


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """Where a server listens."""

    host: str
    port: int
    """0: a free one."""
    public_name: str | None
    """The name by which a proxy on this machine is reached."""

    def __post_init__(self) -> None:
        if self.public_name is not None and not _is_bare_name(self.public_name):
            raise ConfigurationError(
                f"--public-name {self.public_name}",
                reason="a request calls the server by an address or a name of ASCII letters, digits, dots and hyphens",
                remedy="give that alone, without scheme, port, path and final dot, such as demo.example",
            )

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        if self.public_name is not None:
            return False
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names that a request may call the server by; None: any, because every request needs the token."""
        if self.is_private:
            return frozenset((*LOOPBACK_NAMES, self.host))
        return None if self.public_name is None else frozenset((*LOOPBACK_NAMES, self.host, self.public_name.lower()))

    def listen(self) -> socket.socket:
        """Open the socket. Connections wait until the server answers.

        Raises:
            ConfigurationError: the port is in use, or the address cannot be used.
        """
        opened = None
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            opened = socket.socket(family, kind, protocol)
            if os.name == "posix":  # a server that ended a moment ago does not hold its port
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(place)
            opened.listen(128)
        except (OSError, UnicodeError) as error:  # the second where a label of the name is empty or too long
            if opened is not None:
                opened.close()
            raise self._explain(error) from error
        return opened

    def describe(self, opened: socket.socket) -> str:
        """The address of the page.

        Args:
            opened: the socket of this address.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{opened.getsockname()[1]}"

    def _explain(self, error: OSError | UnicodeError) -> ConfigurationError:
        if isinstance(error, UnicodeError):
            return ConfigurationError(
                f"--host {self.host}",
                reason="it is not a name that a machine can have",
                remedy="give an address of this machine, such as 127.0.0.1 or 0.0.0.0",
            )
        if error.errno == errno.EADDRINUSE:
            return ConfigurationError(
                f"port {self.port} of {self.host}",
                reason="another program uses it",
                remedy="give another one with --port, or 0 for a free one",
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return ConfigurationError(
                f"port {self.port} of {self.host}",
                reason="you may not use it; those below 1024 belong to the administrator",
                remedy="give another one with --port",
            )
        return ConfigurationError(
            f"--host {self.host}",
            reason=error.strerror or "this machine has no such address",
            remedy="give an address of this machine, such as 127.0.0.1 or 0.0.0.0",
        )


def _is_bare_name(name: str) -> bool:
    """Whether a text is a name or an address and nothing else."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return _NAME.fullmatch(name) is not None


def read_token(file: Path | None) -> str | None:
    """The token in a file or in the environment; None: neither has one.

    Args:
        file: its only line is the token.

    Raises:
        ConfigurationError: the file cannot be read, or the token is too short or not in ASCII.
    """
    if file is not None:
        try:
            token, where = file.read_text(encoding="utf-8").strip(), f"--token-file {file}"
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"--token-file {file}",
                reason=getattr(error, "strerror", None) or "it is not a text",
                remedy="give a file with the token in its only line",
            ) from error
    elif not (token := os.environ.get(TOKEN_VARIABLE, "").strip()):
        return None
    else:
        where = TOKEN_VARIABLE
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError(
            f"the token of {where}",
            reason=f"a token has at least {SHORTEST_TOKEN} letters, digits and marks, without blanks",
            remedy="make one with `openssl rand -hex 24`",
        )
    return token


def make_token() -> str:
    """A new token at random."""
    return secrets.token_urlsafe(24)
