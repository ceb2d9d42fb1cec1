"""Trains many runs at once: each process has a share of the processors, and a table shows the state of the runs.

A process makes one run or, on a GPU, a batch of runs that one compiled program trains together.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from repro.config import AnyRunConfig, RunConfig, config_from_dict
from repro.errors import InputError, ReproError, StorageError, storage_error
from repro.machine import processors
from repro.study.runs.store import finished_runs
from repro.training.batched_runs import common_program
from repro.training.checkpoint import load_checkpoint
from repro.training.environment import git_revision
from repro.training.interruptions import end_with, interruptions
from repro.training.restart import pretraining_differences
from repro.training.rundir import RunDirectory, checked_path
from repro.training.size import refuse_size

STORED, WAITING, RUNNING, DONE, DIVERGED, FAILED = "stored", "waiting", "running", "done", "diverged", "failed"
POLL_SECONDS = 0.5
GPU_BATCH = 25
FILES, FILES_OF_A_RUN = 256, 4
"""How many open files a process needs, and how many more for each run that it trains: lock, log, what is written."""


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        config: what is run.
        path: its directory.
        state: one of the states above.
        told: the last line of its log.
        process: that makes it, perhaps together with other jobs.
        cores: the processors it may use.
        begun: on the monotonic clock.
        seconds: that it took here.
    """

    config: AnyRunConfig
    path: Path
    state: str = WAITING
    told: str = ""
    process: subprocess.Popen[bytes] | None = None
    cores: tuple[int, ...] = ()
    begun: float = 0.0
    seconds: float = field(default=0.0)

    @property
    def log(self) -> Path:
        """What the run says while it runs."""
        return self.path.parent / f"{self.path.name}.log"

    @property
    def directory(self) -> RunDirectory:
        """The files of the run."""
        return RunDirectory(self.path)

    def read_log(self) -> None:
        """Takes the last line of the log."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        self.told = next((line for line in reversed(lines) if line.strip()), self.told)


def shares(jobs: int, cores: Sequence[int]) -> list[tuple[int, ...]]:
    """The processors in ``jobs`` parts as equal as may be.

    Raises:
        InputError: for less than one job, or more jobs than processors.
    """
    if not 1 <= jobs <= len(cores):
        raise InputError(f"jobs = {jobs}: must be between 1 and the processors there are, {len(cores)}")
    return [tuple(cores[index::jobs]) for index in range(jobs)]


def plan(configs: Sequence[AnyRunConfig], stored: Sequence[Path], out: Path) -> list[Job]:
    """A job for each configuration; those that ended, here or among the stored runs, are marked so."""
    made = []
    known: dict[str, Path] = {}
    for root in reversed(stored):  # the first one named wins
        known |= finished_runs(root)
    for config in configs:
        found = known.get(config.content_hash)
        job = Job(config, found or out / config.run_name)
        if found:
            job.state = STORED
        elif job.directory.ended:
            if job.directory.read_any_config().content_hash != config.content_hash:
                raise InputError(f"{job.path}: holds another run; choose another directory with --out")
            job.state = _ended(job)
        made.append(job)
    return made


def _ended(job: Job) -> str:
    return DONE if job.directory.read_result()["status"] == "complete" else DIVERGED


def donor_for(config: AnyRunConfig, jobs: Sequence[Job], revision: str) -> Path | None:
    """A run of the sweep whose pretraining, by code of this revision, is the one that ``config`` needs, if it ended."""
    for job in jobs:
        pretrained = job.directory.pretrained
        if not pretrained.exists() or pretraining_differences(job.config, config):
            continue
        with suppress(ReproError):  # a damaged one is none
            if load_checkpoint(pretrained).header.revisions == (revision,):
                return job.path
    return None


def _blocked(job: Job, jobs: Sequence[Job]) -> bool:
    """Whether another job is just making the pretraining that this one could take over."""
    return any(
        other.state == RUNNING
        and not other.directory.pretrained.exists()
        and not pretraining_differences(other.config, job.config)
        for other in jobs
    )


def _together(first: Job, jobs: Sequence[Job], most: int) -> list[Job]:
    """The first job and further ones, ready as it is, that the same program can train with it."""
    program = common_program(first.config)
    others = (
        job
        for job in jobs
        if job is not first
        and job.state == WAITING
        and not _blocked(job, jobs)
        and common_program(job.config) == program
    )
    return [first, *islice(others, most - 1)]


def _start(batch: Sequence[Job], jobs: Sequence[Job], cores: tuple[int, ...], device: str | None) -> None:
    orders = []
    revision = git_revision()
    for job in batch:
        donor = None if job.directory.pretrained.exists() else donor_for(job.config, jobs, revision)
        pretrained = str(donor) if donor else None
        orders.append({"config": job.config.to_dict(), "out": str(job.path), "pretrained": pretrained})
    document = {"runs": orders, "device": device, "cores": cores}
    # By default a process takes most of a GPU's memory for itself.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    with batch[0].log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "repro.study.runs.sweep"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    for job in batch:
        job.process, job.cores, job.state, job.begun = process, cores, RUNNING, time.monotonic()
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already, which is seen elsewhere
        # The orders of many runs are longer than an argument may be. The pipe stays open: with this process, however
        # that ends, it closes, and so the other one knows.
        process.stdin.write(f"{json.dumps(document)}\n".encode())
        process.stdin.flush()


def _collect(job: Job) -> None:
    """Notes how a job ended, if it has."""
    assert job.process is not None
    job.read_log()
    code, ended = job.process.poll(), job.directory.ended
    if code is None and not ended:
        return
    job.seconds = time.monotonic() - job.begun
    job.state = _ended(job) if ended else FAILED
    if job.state == FAILED and code is not None and code < 0:
        job.told = f"killed by {signal.Signals(-code).name}; {job.told}"


def _reap(jobs: Sequence[Job]) -> None:
    """Lets go of processes that have ended: a run ends with its last file, some time before its process does."""
    for job in jobs:
        if job.process is not None and job.state != RUNNING and job.process.poll() is not None:
            _let_go(job.process)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Closes the pipe to a process that has ended."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def time_left(jobs: Sequence[Job]) -> float | None:
    """Seconds until all is done, from the mean of what ended here; None while nothing has."""
    ended = [job.seconds for job in jobs if job.seconds]
    running = [job for job in jobs if job.state == RUNNING]
    if not ended:
        return None
    mean, now = sum(ended) / len(ended), time.monotonic()
    work = mean * sum(job.state == WAITING for job in jobs)
    work += sum(max(0.0, mean - (now - job.begun)) for job in running)
    return work / max(1, len(running))


Watcher = Callable[[Sequence[Job]], None]
"""Is shown the jobs whenever something may have changed."""


def sweep(
    configs: Sequence[AnyRunConfig],
    out: str | Path,
    *,
    stored: Sequence[Path] = (),
    jobs: int = 1,
    batch: int | None = None,
    device: str | None = None,
    watcher: Watcher | None = None,
) -> list[Job]:
    """Makes all runs that are not there yet; what was interrupted goes on, a failure does not stop the rest.

    Args:
        configs: what to run.
        out: directory of the runs, one folder each with its log beside it.
        stored: further directories whose finished runs count.
        jobs: processes at a time, each on its own share of the processors.
        batch: the most runs, differing in couplings and seed only, that a process trains together; when left out,
            :data:`GPU_BATCH` where ``device`` is "gpu", else 1.
        device: as for :func:`repro.training.run.train`.
        watcher: shown the jobs about twice a second.

    Returns:
        The jobs, none of them waiting.

    Raises:
        InputError: for too many jobs, a batch of none or of too many, or a directory that cannot be used.
        KeyboardInterrupt: after all processes have written their checkpoints.
    """
    parts = shares(jobs, processors())
    most = batch if batch is not None else GPU_BATCH if device == "gpu" else 1
    if most < 1:
        raise InputError(f"batch = {most}: must be at least 1, for runs one by one")
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files_needed(largest := min(most, len(configs))) > allowed != resource.RLIM_INFINITY:
        raise InputError(
            f"batch = {largest}: needs {files_needed(largest)} open files at a time, and the limit is {allowed}; make "
            f"it {max(1, (allowed - FILES) // FILES_OF_A_RUN)}, or raise the limit (ulimit -Hn)"
        )
    path = checked_path(out)
    planned = plan(configs, stored, path)
    if device == "cpu":  # a GPU, and what it has, is not looked at before a run takes it
        for job in planned:
            if job.state == WAITING and isinstance(job.config, RunConfig):
                refuse_size(job.config, 1)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
    with interruptions() as asked:
        try:
            while not asked.is_set():
                running = [job for job in planned if job.state == RUNNING]
                for job in running:
                    _collect(job)
                _reap(planned)
                running = [job for job in running if job.state == RUNNING]
                free = [part for part in parts if all(job.cores != part for job in running)]
                for part in free:
                    ready = (job for job in planned if job.state == WAITING and not _blocked(job, planned))
                    if (following := next(ready, None)) is None:
                        break
                    _start(_together(following, planned, most), planned, part, device)
                if watcher is not None:
                    watcher(planned)
                if all(job.state not in (WAITING, RUNNING) for job in planned):
                    return planned
                asked.wait(POLL_SECONDS)
            raise KeyboardInterrupt
        finally:
            _end(planned)


def _end(jobs: Sequence[Job]) -> None:
    """Stops what still runs, in order, and waits for it."""
    for job in jobs:
        if job.process is not None and job.state == RUNNING:
            job.process.terminate()  # a run answers with a checkpoint
    for job in jobs:
        if job.process is not None:
            job.process.wait()
            _let_go(job.process)


def files_needed(runs: int) -> int:
    """How many open files a process needs that trains so many runs at once."""
    return FILES + FILES_OF_A_RUN * runs


def summary(jobs: Sequence[Job]) -> str:
    """Such as "12 stored, 3 done, 2 running, 8 waiting"."""
    counts = Counter(job.state for job in jobs)
    order = (STORED, DONE, DIVERGED, FAILED, RUNNING, WAITING)
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state])


def _work(document: dict[str, Any]) -> None:
    """One run or one batch of them, in a process of its own."""
    device = document["device"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < (needed := files_needed(len(document["runs"]))):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    if document["cores"] and device != "gpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, document["cores"])  # before JAX counts its threads
    from repro.console import PlainReporter
    from repro.references import reference_of
    from repro.runtime import configure_jax
    from repro.training.batched_runs import Member, train_member, train_together

    configure_jax(device)
    with ExitStack() as logs:
        members = []
        for order in document["runs"]:
            config, path = config_from_dict(order["config"]), Path(order["out"])
            log = logs.enter_context(Job(config, path).log.open("a", encoding="utf-8"))
            pretrained = order["pretrained"] and Path(order["pretrained"])
            members.append(Member(config, path, pretrained, PlainReporter(reference_of(config), log)))
        if len(members) > 1:
            for member, ended in zip(members, train_together(members, device=device), strict=True):
                if isinstance(ended, BaseException):
                    member.reporter.note(f"error: {ended}")
            return
        train_member(members[0], device=device)


if __name__ == "__main__":
    try:
        orders = json.loads(sys.stdin.readline())
        end_with(sys.stdin.fileno())
        _work(orders)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(130)  # threads that had not computed yet are not waited for; all that is on disk is whole
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: {storage_error(error)}", file=sys.stderr)
        sys.exit(StorageError.exit_code)
