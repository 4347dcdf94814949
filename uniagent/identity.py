"""Who this agent is: a key that never leaves the host, and the controller's certificate for it.

What needs cryptography happens in a short-lived child (enrol.py); here its files are read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from common.errors import PatchError
from uniagent.transport import Credential

log: Final = logging.getLogger(__name__)
KEY: Final = "key.pem"
CERTIFICATE: Final = "certificate.pem"
CA: Final = "ca.pem"
INSTANCE_ID: Final = "instance_id"
VALIDITY: Final = "validity.json"
USED_TOKEN: Final = "token.sha256"
SAME_TOKEN: Final = "SAME_TOKEN"
NO_TOKEN: Final = "NO_TOKEN"
_CHILD_SECONDS: Final = 60.0
FINAL: Final = frozenset({"PERMISSION_DENIED", "INVALID_ARGUMENT", "SETTINGS", NO_TOKEN})
"""Reasons that trying the same again does not mend."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrolled agent."""

    instance_id: str
    credential: Credential
    not_before: datetime
    not_after: datetime

    def renew_at(self) -> datetime:
        """Return when a third of the certificate's life is left."""
        return self.not_after - (self.not_after - self.not_before) / 3


@dataclass(eq=False)
class NotEnrolled(PatchError):
    """The controller gave no certificate. `sentence` is for people."""

    sentence: str
    why: str
    """The name of the gRPC status, or SETTINGS."""
    reason = "NOT_ENROLLED"

    def __str__(self) -> str:
        return self.sentence

    @property
    def final(self) -> bool:
        """Whether somebody must change something before it can succeed."""
        return self.why in FINAL


def load(folder: Path) -> Identity | None:
    """Read the identity; None when the agent is not enrolled yet. Raises OSError when it cannot be read."""
    try:
        instance_id = (folder / INSTANCE_ID).read_text(encoding="utf-8").strip()
        credential = Credential(*((folder / name).read_bytes() for name in (CA, CERTIFICATE, KEY)))
        validity = json.loads((folder / VALIDITY).read_bytes())
        begin, end = (datetime.fromisoformat(validity[key]) for key in ("not_before", "not_after"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("the identity is damaged, enrolling anew", extra={"folder": str(folder), "cause": repr(error)})
        return None
    return Identity(instance_id, credential, begin, end) if instance_id else None


async def ask(request: dict[str, object]) -> None:
    """Let a child enrol or renew (see enrol.py for `request`); raise NotEnrolled when that did not succeed."""
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "uniagent.enrol"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise NotEnrolled(f"the child that enrols cannot be started: {error.strerror}", "CHILD") from None
    try:
        async with asyncio.timeout(_CHILD_SECONDS):
            said, complaint = await child.communicate(json.dumps(request).encode())  # the token is in no argument list
    except TimeoutError:
        raise NotEnrolled(f"the controller gave no answer within {_CHILD_SECONDS:.0f} s", "CHILD") from None
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    try:
        answer = json.loads(said)
        if not answer["why"]:
            return
        raise NotEnrolled(str(answer["sentence"]), str(answer["why"]))
    except (ValueError, KeyError, TypeError):
        last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"status {child.returncode}"]
        raise NotEnrolled(f"the child that enrols failed: {last[0][:500]}", "CHILD") from None
