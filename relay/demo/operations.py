"""The operations of a manager on its servers, each with an event before and after it."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

from emitters import Emitter
from emitters.decorators import emits
from emitters.events import EventName
from emitters.resources import ResourceMonitor
from emitters.tasks import progress
from relay.demo import backups
from relay.demo.server_process import ServerProcess

BACKUPS_KEPT = 3
MAX_PLAYERS = 50


class Operations:
    """Operates on `servers`; a long operation ends early when `stopping` is set."""

    def __init__(
        self,
        emitter: Emitter,
        monitor: ResourceMonitor,
        servers: Mapping[str, ServerProcess],
        stopping: Event,
    ) -> None:
        self.emitter = emitter
        self._monitor = monitor
        self._servers = servers
        self._stopping = stopping

    @emits(before=EventName.BEFORE_SERVER_START, after=EventName.AFTER_SERVER_START)
    def start_server(self, server_name: str) -> dict[str, Any]:
        """Start a server and its resource monitor."""
        server = self._servers[server_name]
        server.start()
        if server.pid is not None:
            self._monitor.watch(server_name, server.pid)
        return _success(pid=server.pid)

    @emits(before=EventName.BEFORE_SERVER_STOP, after=EventName.AFTER_SERVER_STOP)
    def stop_server(self, server_name: str) -> dict[str, Any]:
        """Stop a server."""
        self._servers[server_name].stop()
        return _success()

    @emits(before=EventName.BEFORE_COMMAND_SEND, after=EventName.AFTER_COMMAND_SEND)
    def send_command(self, server_name: str, command: str) -> dict[str, Any]:
        """Send a command to a server's console."""
        return _success(output=self._servers[server_name].send_command(command))

    @emits(before=EventName.BEFORE_ALLOWLIST_CHANGE, after=EventName.AFTER_ALLOWLIST_CHANGE)
    def change_allowlist(
        self, server_name: str, added: list[str], removed: list[str]
    ) -> dict[str, Any]:
        """Add players to a server's allowlist and remove others."""
        path = self._servers[server_name].folder / "allowlist.json"
        names = [name for name in _read_list(path) if name not in removed]
        names += [name for name in added if name not in names]
        _write_list(path, names[-MAX_PLAYERS:])
        return _success(players=len(names))

    @emits(before=EventName.BEFORE_BACKUP, after=EventName.AFTER_BACKUP)
    def back_up(self, server_name: str) -> dict[str, Any]:
        """Zip a server's world."""
        folder = self._servers[server_name].folder
        name = time.strftime("%Y%m%d-%H%M%S")
        path = backups.create(folder, name, progress, self._stopping.wait)
        return _success(file=path.name, size_bytes=path.stat().st_size)

    @emits(before=EventName.BEFORE_PRUNE_BACKUPS, after=EventName.AFTER_PRUNE_BACKUPS)
    def prune_backups(self, server_name: str, keep: int = BACKUPS_KEPT) -> dict[str, Any]:
        """Delete a server's old backups."""
        return _success(deleted=backups.prune(self._servers[server_name].folder, keep))

    def back_up_and_prune(self, server_name: str) -> dict[str, Any]:
        """Back a server up, then delete its old backups; returns the backup's result."""
        result = self.back_up(server_name)
        self.prune_backups(server_name)
        return result

    def emit_crash(self, server_name: str, message: str) -> None:
        """Emit that a server ended by itself."""
        self.emitter.emit(
            EventName.AFTER_SERVER_STOP.topic,
            {"server_name": server_name, "result": {"status": "error", "message": message}},
        )

    def emit_statuses(self) -> None:
        """Emit the status of every server."""
        servers = [
            {"name": each.name, "status": each.status, "pid": each.pid}
            for each in self._servers.values()
        ]
        self.emitter.emit(EventName.AFTER_SERVER_STATUSES_UPDATED.topic, {"servers": servers})


def _success(**details: object) -> dict[str, Any]:
    return {"status": "success", **details}


def _read_list(path: Path) -> list[str]:
    return list(json.loads(path.read_text())) if path.exists() else []


def _write_list(path: Path, names: list[str]) -> None:
    """Replace the file in one step, so that a killed manager leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(names))
    partial.replace(path)
