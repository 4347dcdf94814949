"""A package's full name: name, epoch, version, release, architecture."""

from __future__ import annotations

from typing import NamedTuple

from common import evr


class Nevra(NamedTuple):
    """One build of one package. Ordered by rpm only through `evr.key`."""

    name: str
    epoch: int
    version: str
    release: str
    arch: str

    @property
    def evr(self) -> evr.Evr:
        """Epoch, version and release."""
        return evr.Evr(self.epoch, self.version, self.release)

    @property
    def key(self) -> bytes:
        """The bytes that order like rpm does."""
        return evr.key(self.epoch, self.version, self.release)

    def __str__(self) -> str:
        """Return name-[epoch:]version-release.arch; the epoch only when it is not 0."""
        return f"{self.name}-{self.evr}.{self.arch}"


def parse(text: str) -> Nevra:
    """Read "name-[epoch:]version-release.arch" or rpm's older "epoch:name-version-release.arch"; else raise ValueError."""
    rest, dot, arch = text.strip().rpartition(".")
    name_version, dash, release = rest.rpartition("-")
    name, dash2, version = name_version.rpartition("-")
    if not (dot and dash and dash2 and name and version and release and arch) or any(c.isspace() for c in text.strip()):
        raise ValueError(f"{text!r} is not name-[epoch:]version-release.arch")
    epoch, colon, plain_version = version.rpartition(":")
    if not colon:
        epoch, colon, name = name.rpartition(":")
    if not (name and plain_version) or ":" in name or ":" in plain_version:
        raise ValueError(f"{text!r} is not name-[epoch:]version-release.arch")
    return Nevra(name, evr.parse_epoch(epoch), plain_version, release, arch)
