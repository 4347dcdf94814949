"""Writes a collection to a folder: each blob under its digest, then the manifest, and `result.json` last of all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from common import manifest
from uniagent.collect.model import Blob, Collected

RESULT: Final = "result.json"


class Changed(Exception):
    """A file of the package manager's cache is not any more what it was when the manifest was made."""


def write(collected: Collected, spool: Path, collected_at: datetime) -> str:
    """Write it all, each file at once or not at all, and return the manifest's digest. Files that are there are left alone.

    Raise OSError when the folder cannot take it, Changed when the collection has to be made again. No result.json is written then.
    """
    spool.mkdir(parents=True, exist_ok=True)
    for digest, blob in collected.blobs.items():
        _write_blob(spool, digest, blob)
    content = manifest.encode(collected.manifest)
    manifest.decode(content)  # what the controller would refuse must not leave the host
    digest = hashlib.sha256(content).hexdigest()
    _write_blob(spool, digest, content)
    result = {
        "manifest": digest,
        "problems": len(set(collected.manifest.problems)),
        "collected_at": collected_at.astimezone(UTC).isoformat(),
    }
    with _replacing(spool / RESULT) as file:
        file.write(json.dumps(result, sort_keys=True).encode() + b"\n")
    return digest


def _write_blob(spool: Path, digest: str, blob: Blob) -> None:
    target = spool / digest
    if target.exists():
        return
    with _replacing(target) as file:
        if isinstance(blob, bytes):
            file.write(blob)
            return
        hashed = hashlib.sha256()
        try:
            source = blob.open("rb")
        except FileNotFoundError:
            raise Changed(f"{blob.name} was replaced while it was read") from None
        with source:
            while piece := source.read(1 << 20):
                hashed.update(piece)
                file.write(piece)
        if hashed.hexdigest() != digest:
            raise Changed(f"{blob.name} was replaced while it was read")


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes `target`'s place when all went well, and is gone when not."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
