"""Batches as a file to edit: written from a preview, read again by --batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from controller.cli.command import Misuse
from controller.cli.words import clean, plural

if TYPE_CHECKING:
    from common.pb.v1 import ticket_pb2 as pb


def save(option: str, path: Path, preview: pb.PreviewResponse) -> None:
    """Write the batches of a preview as YAML with comments."""
    try:
        path.write_text("\n".join(_lines(path, preview)) + "\n", encoding="utf-8")
    except OSError as error:
        raise Misuse(f"{option}: {path} cannot be written: {error.strerror}") from None


def _lines(path: Path, preview: pb.PreviewResponse) -> Iterator[str]:
    size = f"{plural(preview.targets, 'instance')} in {plural(len(preview.batches), 'batch')}"
    yield f"# {size}, in the order in which they run. Move lines, split batches or merge them;"
    yield "# every instance stands in exactly one batch. An id or a name is an entry, what follows # is a remark."
    canary = " --canary first" if any(batch.canary for batch in preview.batches) else ""
    yield f"# Then: patchctl scan create (same options) --batches {path}{canary}"
    for batch in preview.batches:
        place = [batch.region, batch.zone, batch.application_group]
        what = " · ".join(clean(word) for word in ("the canary" if batch.canary else "", *place) if word)
        yield f"- # batch {batch.number}, {plural(len(batch.instance_ids), 'instance')}" + (f": {what}" if what else "")
        for identifier, name in zip(batch.instance_ids, batch.instance_names, strict=True):
            yield f"  - {json.dumps(identifier)}  # {clean(name)}"
