"""Names the program that answers: whoever has another edition may answer otherwise, so what one edition stored another does not trust.

Nobody has to remember to raise a number: the name is made from the code itself, tables of vendors' dates and public baselines among it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

_FOLDERS: Final = ("common", "controller.compliance", "controller.dispatch", "controller.fleet", "controller.inventory")
"""All that an answer goes through: how files are read, hosts and versions understood, and what is decided."""
_LIBRARIES: Final = ("createrepo_c", "pyroaring")


@cache
def edition() -> bytes:
    """Return a digest of the code that makes answers, and of what it stands on. It is the same in every process of one installation."""
    found = hashlib.sha256(platform.python_version().encode())
    for library in _LIBRARIES:
        found.update(f"\n{library} {importlib.metadata.version(library)}".encode())
    for folder in _FOLDERS:
        files = [file for file in resources.files(folder).iterdir() if file.is_file() and _counts(file)]
        for file in sorted(files, key=lambda f: f.name):
            content = file.read_bytes()
            found.update(f"\n{folder}/{file.name} {len(content)}\n".encode() + content)
    return found.digest()


def _counts(file: Traversable) -> bool:
    return not file.name.endswith((".md", "~")) and not file.name.startswith(".")
