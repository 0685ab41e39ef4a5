"""A script: one event for everybody, and work whose progress alice watches."""

from emitters import Emitter
from emitters.tasks import TaskManager, progress


def back_up(folder: str) -> dict[str, int]:
    for done in (0.25, 0.5, 0.75):
        progress(done, f"Saving {folder}")
    return {"files": 3}


with Emitter(name="nightly") as emitter:
    tasks = TaskManager(emitter)
    tasks.run_task(back_up, "alice", "world")
    tasks.shutdown(timeout=60)
    emitter.emit("event:after_backup", {"server_name": "survival"})
# At the end of the block everything has been sent, or a line says what has not.
