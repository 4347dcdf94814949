"""Where patchctl remembers whom it talks to: a settings file that only its owner may read, with the join file beside it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common import settings

JOIN_NAME: Final = "join.pem"


@dataclass(frozen=True, slots=True)
class Login:
    """Whom patchctl talks to, and as whom. Empty and None: not said."""

    controller: str = ""
    join: Path | None = None
    token: str = ""

    def over(self, other: Login) -> Login:
        """Return this login, with what it does not say taken from `other`."""
        return Login(self.controller or other.controller, self.join or other.join, self.token or other.token)


def config_path() -> Path:
    """Return where the settings file lies: $PATCHCTL_CONFIG, else below $XDG_CONFIG_HOME or ~/.config."""
    if chosen := os.environ.get("PATCHCTL_CONFIG"):
        return Path(chosen)
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "patchctl" / "config.toml"


def from_environment() -> Login:
    """Return what PATCHCTL_CONTROLLER, PATCHCTL_JOIN and PATCHCTL_TOKEN say."""
    join = os.environ.get("PATCHCTL_JOIN")
    return Login(
        os.environ.get("PATCHCTL_CONTROLLER", ""), Path(join) if join else None, os.environ.get("PATCHCTL_TOKEN", "")
    )


def from_file(path: Path) -> Login:
    """Return what the settings file says; nothing when there is none. Raises InvalidArgument that names a wrong key."""
    return settings.load(Login, path) if path.exists() else Login()


def save(path: Path, controller: str, join_pem: bytes, token: str) -> None:
    """Write the settings file and the join file beside it, readable only by their owner, each whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path.with_name(JOIN_NAME), join_pem)
    text = "# Written by patchctl login. The token is a secret.\n"
    for key, value in (("controller", controller), ("join", JOIN_NAME), ("token", token)):
        text += f"{key} = {json.dumps(value)}\n"  # an ASCII JSON string is a TOML string
    _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.stat()  # says what is wrong with a link that leads to itself
    path = path.resolve()  # where settings are kept elsewhere, the links to them stay
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
