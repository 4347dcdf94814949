"""The process that sends one message: reads a job from its input, sends it, says on its output how it went, and ends.

A process of its own, because what it imports is large, what it calls may hang, and it can be ended. It dies with its controller: one that
lived on could send a message that the next controller sends as well.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any, Final

from controller.channels import through_apprise, webhook
from controller.channels.places import APPRISE

_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Send the job on standard input."""
    parent = os.getppid()
    _die_with_parent()
    job = json.loads(sys.stdin.buffer.read())
    if os.getppid() != parent:
        return 1
    json.dump(perform(job), sys.stdout)
    sys.stdout.flush()
    return 0


def perform(job: dict[str, Any]) -> dict[str, Any]:
    """Send a job; return {"sent": true}, or what is the matter and whether trying again can help."""
    try:
        if job["kind"] == APPRISE:
            through_apprise.send(job["url"], job["address"], job["subject"], job["text"], job["message_id"])
        else:
            body = job["body"].encode()
            webhook.post(job["url"], job["secret"], job["id"], body, int(time.time()), job["ca_file"])
    except through_apprise.NotUnderstood as error:
        return {"sent": False, "error": str(error), "hopeless": True}
    except (through_apprise.NotAccepted, webhook.NotAccepted) as error:
        return {"sent": False, "error": str(error), "hopeless": False}
    return {"sent": True}


def _die_with_parent() -> None:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux
        return


if __name__ == "__main__":
    sys.exit(main())
