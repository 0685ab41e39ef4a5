"""A Celery task whose progress its user watches, as a task of `relay-client.js`."""

import os
from typing import Any

from celery import Celery

from emitters import Emitter

app = Celery("celery_tasks", broker=os.environ.get("CELERY_BROKER", "redis://localhost"))
emitter = Emitter(name="reports")  # Celery forks its workers, and each has its own link


@app.task(bind=True)  # type: ignore[untyped-decorator]
def report(self: Any, username: str, pages: int) -> None:
    def tell(status: str, message: str, progress: float) -> None:
        state = {"status": status, "message": message, "progress": progress}
        emitter.emit(f"task:{self.request.id}", state, username=username)

    for page in range(pages):
        tell("in_progress", f"Page {page + 1} of {pages}", page / pages)
        ...  # write the page
    tell("success", "The report is ready", 1.0)
