"""Searches by cmaes and evosax, in another environment.

``requirements/peers-search.lock`` makes one,

    python3 -m venv search && search/bin/python -m pip install --require-hashes -r requirements/peers-search.lock

whose interpreter runs :mod:`repro.study.benchmarks.search_program`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.demonstrations.geometry.stochastic_search import PROBLEMS, TARGET
from repro.errors import InputError, ReproError
from repro.reading import parse_json, told
from repro.study.benchmarks.kfac_jax import KEPT

PROGRAM = Path(__file__).with_name("search_program.py")
REMEDY = "make an environment with requirements/peers-search.lock, and give its interpreter"


@dataclass(frozen=True)
class PeerSearches:
    """Searches with one N and one scale.

    Attributes:
        samples: N.
        scale: of the first deviation of both CMA-ES, of the covariance's rates of xNES and SNES.
        evaluations: of each seed until it has arrived, infinite if it did not.
        off_diagonal: the largest entry off the diagonal of the matrix B at the end, of xNES; else of no meaning.
    """

    samples: int
    scale: float
    evaluations: list[float]
    off_diagonal: float


def search_by_peer(
    python: Path,
    problem: str,
    method: str,
    samples: Sequence[int],
    scales: Sequence[float],
    seeds: Sequence[int],
    budget: int,
) -> list[PeerSearches]:
    """Searches in another process: every N with every scale.

    Args:
        python: interpreter of an environment with the packages.
        problem: one of :data:`repro.demonstrations.geometry.stochastic_search.PROBLEMS`; starts are the same.
        method: "cmaes", or "evosax " and the name of a class.
        samples: numbers N of a step.
        scales: of what the user of a method has to choose, see :class:`PeerSearches`.
        seeds: of the starts and of the samples.
        budget: evaluations of a search.

    Raises:
        InputError: if there is no such interpreter.
        ReproError: if the process fails; it says how.
    """
    if not python.is_file():
        raise InputError(f"{python}: not there; {REMEDY}")
    of = PROBLEMS[problem]
    request = {
        **{"problem": problem, "method": method, "samples": list(samples), "scales": list(scales)},
        **{"seeds": list(seeds), "starts": of.starts(list(seeds)).tolist(), "deviation": of.deviation},
        **{"budget": budget, "target": TARGET},
    }
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    done = subprocess.run(
        [str(python), "-P", str(PROGRAM), json.dumps(request)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=environment | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"},
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
        raise ReproError(f"{method}: {told(RuntimeError(said[0]))}; {REMEDY}")
    answer = parse_json(done.stdout.splitlines()[-1], method)
    return [
        PeerSearches(
            one["samples"],
            one["scale"],
            [math.inf if number is None else float(number) for number in one["evaluations"]],
            one["off_diagonal"],
        )
        for one in answer["searches"]
    ]
