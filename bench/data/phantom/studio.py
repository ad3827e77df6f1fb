"""Draws a phantom's images in several processes; who draws an image changes no byte of it.

They are helpers (:mod:`bench.helpers`). Threads do not help: an image is hundreds of operations on
some thousand elements, and to hand the interpreter lock over takes longer than what NumPy and
Pillow do without it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from bench import helpers
from bench.data.phantom.pictures import Job, write_pictures
from bench.environment import granted_cores
from bench.errors import UsageError

PATIENTS = 8
"""Patients between two reports of progress."""
JOBS_EACH = 6
"""So many jobs are worth a process, which takes half a second to start."""

Progress = Callable[[int, int], None]


def write_images(
    jobs: Sequence[Job], total: int, *, workers: int | None, progress: Progress | None
) -> None:
    """Draws and saves the images of all jobs, ``total`` in all.

    ``workers`` is the number of processes, None one for each core where there is enough to do;
    ``progress`` is called with the images done and in all. Raises OSError where an image cannot be
    written.
    """
    workers = workers or min(granted_cores(), len(jobs) // JOBS_EACH)
    done = 0
    with closing(_written(jobs, workers)) as numbers:
        for number in numbers:
            done += number
            if progress is not None:
                progress(done, total)


def _written(jobs: Sequence[Job], workers: int) -> Generator[int]:
    """The images of a job, for each one that is done."""
    if workers <= 1:
        yield from map(write_pictures, jobs)
        return
    questions = [asdict(job) for job in jobs]
    try:
        with closing(helpers.answers(__name__, questions, workers)) as answers:
            for _, answer in answers:
                yield answer["written"]
    except helpers.HelperLost as lost:
        raise UsageError(
            "a process that draws the phantom ended before its work was done",
            found=str(lost),
            mend="give the command again, with --workers 1 where there is little memory",
        ) from None


def reply(question: dict[str, Any]) -> dict[str, Any]:
    """A helper's answer to a job."""
    job = Job(**{**question, "patients": tuple(question["patients"])})
    return {"written": write_pictures(job)}
