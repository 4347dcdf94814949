"""The file of channels as it is now: read again when it changes, so that no restart is needed for another password."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from common.errors import InvalidArgument
from controller.channels.settings import NO_CHANNELS, ChannelSettings, load_channels

log = logging.getLogger(__name__)

_Mark = tuple[int, int, int, int] | None
_NOT_SEEN: Final = (0, 0, 0, 0)
_SETTLED_NANOSECONDS: Final = 2_000_000_000


def _is_settled(mark: tuple[int, int, int, int]) -> bool:
    """Say whether a file has not been written for a while: one that is written twice in an instant bears one time."""
    return time.time_ns() - mark[3] > _SETTLED_NANOSECONDS


class ChannelsFile:
    """The settings in a file. One that is wrong since it changed leaves the settings of before in force, and says what is wrong."""

    def __init__(self, path: Path | None) -> None:
        """Read it; raise InvalidArgument when it is wrong from the start. Without a path no channel is set up, ever."""
        self._path = path
        self._seen = self._mark()
        self._settings = load_channels(path) if path is not None else NO_CHANNELS
        self._problem = ""

    @property
    def problem(self) -> str:
        """What is wrong with the file as it is now; empty when its settings are in force."""
        self._look()
        return self._problem

    def now(self) -> ChannelSettings:
        """Return the settings that are in force."""
        self._look()
        return self._settings

    def _look(self) -> None:
        if self._path is None or (mark := self._mark()) == self._seen:
            return
        self._seen = mark if mark is None or _is_settled(mark) else _NOT_SEEN
        before, problem = self._settings, self._problem
        try:
            self._settings, self._problem = load_channels(self._path), ""
        except InvalidArgument as wrong:
            self._problem = str(wrong)
            if self._problem != problem:
                why = {"file": str(self._path), "why": self._problem}
                log.warning("the channels are wrong, the old ones stay", extra=why)
        else:
            if self._settings != before or problem:
                log.info("read the channels again", extra={"file": str(self._path)})

    def _mark(self) -> _Mark:
        """Return what changes when the file does: an editor writes it anew, or puts another in its place; a chmod can mend it."""
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
