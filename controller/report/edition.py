"""Names the program that writes reports: where another edition draws the same answers otherwise, a file cannot be drawn again to compare.

Nobody has to remember to raise a number: the name is made from the code and the templates, and from the libraries that draw.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from importlib import resources
from typing import Final

_LIBRARIES: Final = ("Jinja2", "MarkupSafe", "cyclonedx-python-lib", "packageurl-python", "pymupdf-fonts", "reportlab")
_LENGTH: Final = 16


@cache
def edition() -> str:
    """Return the name: the same in every process of one installation."""
    found = hashlib.sha256()
    for library in _LIBRARIES:
        found.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    here = resources.files("controller.report")
    files = [file for folder in (here, here / "templates") for file in folder.iterdir() if file.is_file()]
    for file in sorted((f for f in files if f.name.endswith((".py", ".j2", ".css"))), key=lambda f: f.name):
        content = file.read_bytes()
        found.update(f"{file.name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:_LENGTH]
