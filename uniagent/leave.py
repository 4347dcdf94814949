"""`uniagent leave`: tells the controller that the agent is being uninstalled. For the package's hook, after the daemon has stopped."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from common.errors import PatchError
from uniagent import identity, settings


def run(config: Path) -> int:
    """Say goodbye; return the exit status: 0 said or nothing to say, 1 the controller did not hear it."""
    try:
        current = settings.load(config)
        folder = current.state / "identity"
        if identity.load(folder) is None:
            print("this host never enrolled: there is nobody to tell")
            return 0
        asyncio.run(identity.ask({"do": "leave", "folder": str(folder), "controller": current.controller}))
    except (PatchError, OSError) as error:
        print(f"uniagent leave: {error}", file=sys.stderr)
        return 1
    print("the controller knows that this agent is being uninstalled")
    return 0
