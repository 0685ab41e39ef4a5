"""`WatchedConfig`: `relay.toml` as it is now, for what takes effect while a program runs.

A file that has changed is read when it was not written to between two looks, so never in the midst
of a change. One that cannot be used is logged in one line, once, and what held before stays; so
does it if the file is gone.
"""

import asyncio
import logging
from pathlib import Path

from relay.shared.config_file import ConfigFile, config_file_path, read_config_at
from relay.shared.settings_error import SettingsError

logger = logging.getLogger(__name__)

State = tuple[int, int, int, int]


class WatchedConfig:
    """Looks at the file from time to time. Its first look reads it: it may have changed since."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a `path`, the file is where the programs find it."""
        # Absolute: the program may change its directory.
        self._path = (config_file_path() if path is None else path).absolute()
        self._seen: State | None = None
        """At the last look."""
        self._read: State | None = None
        """When it was read last, None if it never was."""

    def has_changed(self) -> bool:
        """Look at the file; return whether it is another one, or was never read, and is whole."""
        before, self._seen = self._seen, _state_of(self._path)
        if self._seen is None:
            if self._read is not None:
                self._read = None
                logger.error("%s is gone; what it said before stays in force", self._path)
            return False
        return self._seen == before != self._read

    def read(self) -> ConfigFile | None:
        """Return its contents, None if it cannot be used."""
        self._read = self._seen
        try:
            return read_config_at(self._path)
        except (SettingsError, FileNotFoundError) as error:
            logger.error("what it said before stays in force: %s", error)
            return None

    async def look(self) -> ConfigFile | None:
        """Return the contents of a file that has changed, read beside the event loop."""
        return await asyncio.to_thread(self.read) if self.has_changed() else None


def _state_of(path: Path) -> State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
