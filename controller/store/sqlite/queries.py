"""The statements in the .sql files next to this module, by name: a line `-- name` opens each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- ([a-z_]+)$", re.MULTILINE)


def queries(topic: str) -> Mapping[str, str]:
    """Return the statements in `<topic>.sql`; raise ValueError when a name stands there twice."""
    text = resources.files(__package__).joinpath(f"{topic}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, statements = parts[::2], [part.strip().removesuffix(";") for part in parts[1::2]]
    if len(set(names)) < len(names):
        raise ValueError(f"{topic}.sql: a statement has the name of another")
    return dict(zip(names, statements, strict=True))
