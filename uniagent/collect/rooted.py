"""Files of an installation under a folder, seen as the installation itself would see them.

An image may hold links such as /etc/os-release -> /usr/lib/os-release. Followed blindly they would lead to the machine that asks;
here they stay inside, as after chroot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAX_LINKS: Final = 40
MAX_TEXT_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one installation; `folder` is None for the running host."""

    folder: Path | None = None

    def path(self, inside: str) -> Path:
        """Return where a path of the installation lies, all links followed inside it. It need not exist."""
        if self.folder is None:
            return Path("/", inside)
        todo, done, links = [*reversed(_parts(inside))], list[str](), 0
        while todo:
            part = todo.pop()
            if part == "..":
                del done[-1:]
                continue
            here = self.folder.joinpath(*done, part)
            if here.is_symlink() and links < _MAX_LINKS:
                links += 1
                target = str(here.readlink())
                if target.startswith("/"):
                    done.clear()
                todo += reversed(_parts(target))
            else:
                done.append(part)
        return self.folder.joinpath(*done)

    def read_text(self, inside: str) -> str:
        """Return what a text file of the installation says. Raise OSError when it cannot be read, or is absurdly large."""
        file = self.path(inside)
        with file.open("rb") as stream:
            content = stream.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise OSError(f"{inside} is larger than {MAX_TEXT_BYTES >> 20} MiB")
        return content.decode("utf-8", "replace")

    def names(self, inside: str, suffix: str) -> list[str]:
        """Return the sorted names of the files with this suffix in a folder; none when there is no such folder."""
        folder = self.path(inside)
        return sorted(p.name for p in folder.iterdir() if p.name.endswith(suffix)) if folder.is_dir() else []


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
