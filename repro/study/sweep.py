"""Many runs at once: a process each, a share of the processors each, and a table that says how they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro.config import RunConfig
from repro.errors import DivergedError, InputError, ReproError
from repro.study.store import finished_runs
from repro.training.run import pretraining_differences
from repro.training.rundir import RunDirectory, checked_path

STORED, WAITING, RUNNING, DONE, DIVERGED, FAILED = "stored", "waiting", "running", "done", "diverged", "failed"
POLL_SECONDS = 0.5


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        config: what is run.
        path: its directory.
        state: one of the states above.
        told: the last line of its log.
        process: while it runs.
        cores: the processors it may use.
        begun: on the monotonic clock.
        seconds: that it took here.
    """

    config: RunConfig
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
            lines = self.log.read_text(errors="replace").splitlines()
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


def plan(configs: Sequence[RunConfig], stored: Sequence[Path], out: Path) -> list[Job]:
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
        elif job.directory.result.exists():
            if job.directory.read_config().content_hash != config.content_hash:
                raise InputError(f"{job.path}: holds another run; choose another directory with --out")
            job.state = _ended(job)
        made.append(job)
    return made


def _ended(job: Job) -> str:
    return DONE if job.directory.read_result()["status"] == "complete" else DIVERGED


def donor_for(config: RunConfig, jobs: Sequence[Job]) -> Path | None:
    """A run of the sweep whose pretraining is the one that ``config`` needs, if it has ended."""
    for job in jobs:
        if job.directory.pretrained.exists() and not pretraining_differences(job.config, config):
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


def _start(job: Job, jobs: Sequence[Job], device: str | None) -> None:
    donor = None if job.directory.pretrained.exists() else donor_for(job.config, jobs)
    order = {
        "config": job.config.to_dict(),
        "out": str(job.path),
        "pretrained": str(donor) if donor else None,
        "device": device,
        "cores": job.cores,
    }
    with job.log.open("ab") as log:
        job.process = subprocess.Popen(
            [sys.executable, "-m", "repro.study.sweep", json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    job.state, job.begun = RUNNING, time.monotonic()


def _collect(job: Job) -> None:
    """Notes how a process ended, if it has."""
    assert job.process is not None
    job.read_log()
    code = job.process.poll()
    if code is None:
        return
    job.seconds = time.monotonic() - job.begun
    job.state = _ended(job) if code in (0, DivergedError.exit_code) and job.directory.result.exists() else FAILED
    job.process = None


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
    configs: Sequence[RunConfig],
    out: str | Path,
    *,
    stored: Sequence[Path] = (),
    jobs: int = 1,
    device: str | None = None,
    watcher: Watcher | None = None,
) -> list[Job]:
    """Makes all runs that are not there yet; what was interrupted goes on, a failure does not stop the rest.

    Args:
        configs: what to run.
        out: directory of the runs, one folder each with its log beside it.
        stored: further directories whose finished runs count.
        jobs: processes at a time, each on its own share of the processors.
        device: as for :func:`repro.training.run.train`.
        watcher: shown the jobs about twice a second.

    Returns:
        The jobs, none of them waiting.

    Raises:
        InputError: for too many jobs, or a directory that cannot be used.
        KeyboardInterrupt: after all processes have written their checkpoints.
    """
    parts = shares(jobs, sorted(os.sched_getaffinity(0)))
    path = checked_path(out)
    planned = plan(configs, stored, path)
    path.mkdir(parents=True, exist_ok=True)
    try:
        while True:
            running = [job for job in planned if job.state == RUNNING]
            for job in running:
                _collect(job)
            running = [job for job in running if job.state == RUNNING]
            free = [part for part in parts if all(job.cores != part for job in running)]
            for part in free:
                ready = (job for job in planned if job.state == WAITING and not _blocked(job, planned))
                if (following := next(ready, None)) is None:
                    break
                following.cores = part
                _start(following, planned, device)
            if watcher is not None:
                watcher(planned)
            if all(job.state not in (WAITING, RUNNING) for job in planned):
                return planned
            time.sleep(POLL_SECONDS)
    finally:
        for job in planned:
            if job.process is not None:
                job.process.terminate()  # a run answers with a checkpoint
        for job in planned:
            if job.process is not None:
                job.process.wait()


def summary(jobs: Sequence[Job]) -> str:
    """Such as "12 stored, 3 done, 2 running, 8 waiting"."""
    counts = Counter(job.state for job in jobs)
    order = (STORED, DONE, DIVERGED, FAILED, RUNNING, WAITING)
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state])


def _work(order: dict[str, object]) -> None:
    """One run, in a process of its own."""
    if order["cores"] and order["device"] != "gpu":
        os.sched_setaffinity(0, order["cores"])  # type: ignore[arg-type]  # before JAX counts its threads
    from repro.console import PlainReporter
    from repro.references import known_energy
    from repro.runtime import configure_jax
    from repro.training.run import train

    device = order["device"]
    assert device is None or isinstance(device, str)
    configure_jax(device)
    config = RunConfig.from_dict(order["config"])  # type: ignore[arg-type]
    pretrained = order["pretrained"]
    train(
        config,
        str(order["out"]),
        device=device,
        resume=True,
        pretrained=None if pretrained is None else str(pretrained),
        reporter=PlainReporter(known_energy(config.system)),
    )


if __name__ == "__main__":
    try:
        _work(json.loads(sys.argv[1]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
