"""Searches by evolution strategies of cmaes and evosax: a program for another environment, which has these packages.

``python search_program.py REQUEST`` with REQUEST a JSON object prints a JSON object in its last line. It imports
nothing of this package. See :mod:`repro.study.benchmarks.search_peers`, which calls it and says what is in both.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np

CMAES = "cmaes"
"""The name of the package cmaes, and of its method; others are "evosax" and the name of a class of evosax."""


def gap(name: str, x: Any, xp: Any) -> Any:
    """The gap max f - f of points ``(..., n)``; ``xp`` is NumPy or JAX's."""
    first, last = x[..., 0], x[..., -1]
    if name == "line":
        return 1.0 / 12.0 - (first - 3.0 * first**2)
    if name == "quartic":
        return 8.0 + 4.0 * math.sqrt(2.0) - (6.0 * first + 8.0 * first**2 - first**3 - 2.0 * first**4)
    if name == "plane":
        return 0.5 - (first + 2.0 * last - 3.0 * first**2 - 2.0 * first * last - 2.0 * last**2)
    if name == "rosenbrock":
        return (1.0 - first) ** 2 + 100.0 * (last - first**2) ** 2
    return xp.sum(x**2 + 10.0 * (1.0 - xp.cos(2.0 * math.pi * x)), axis=-1)


def by_cmaes(request: dict[str, Any], samples: int, scale: float) -> list[float]:
    """Evaluations of each seed, infinite for none; the scale is that of the first deviation."""
    from cmaes import CMA

    found = []
    for seed, start in zip(request["seeds"], request["starts"], strict=True):
        search = CMA(np.array(start), request["deviation"] * scale, population_size=samples, seed=seed)
        found.append(math.inf)
        for step in range(request["budget"] // samples):
            x = np.stack([search.ask() for _ in range(samples)])
            gaps = gap(request["problem"], x, np)
            if (gaps <= request["target"]).any():
                found[-1] = step * samples + 1 + int(np.argmax(gaps <= request["target"]))
                break
            search.tell(list(zip(x, gaps.tolist(), strict=True)))
            if search.should_stop():
                break
    return found


def by_evosax(request: dict[str, Any], samples: int) -> list[tuple[list[float], float]]:
    """As :func:`by_cmaes` for each scale, with the largest entry off the diagonal of xNES's matrix B at the end.

    The scale is that of the first deviation of CMA_ES, and that of the rates of the covariance of xNES and SNES.
    """
    import jax
    import jax.numpy as jnp
    from evosax import algorithms

    name = request["method"].removeprefix("evosax ")
    n, count = len(request["starts"][0]), len(request["scales"])
    strategy = getattr(algorithms, name)(population_size=samples, solution=jnp.zeros(n))
    usual = strategy.default_params

    def run(seed: Any, start: Any, scale: Any) -> tuple[Any, Any]:
        # xNES multiplies std by B, and both begin with std_init.
        deviation = math.sqrt(request["deviation"]) if name == "xNES" else request["deviation"]
        if name == "CMA_ES":
            params = usual.replace(std_init=jnp.asarray(deviation * scale))
        else:
            rates = {rate: getattr(usual, rate) * scale for rate in ("lr_std_init", "lr_B") if hasattr(usual, rate)}
            params = usual.replace(std_init=jnp.asarray(deviation), **rates)
        key = jax.random.key(seed)

        def going(carry: Any) -> Any:
            _, step, found = carry
            return jnp.isinf(found) & (step < request["budget"] // samples)

        def body(carry: Any) -> Any:
            state, step, found = carry
            asking, telling = jax.random.split(jax.random.fold_in(key, step))
            x, state = strategy.ask(asking, state, params)
            gaps = gap(request["problem"], x, jnp)
            hit = gaps <= request["target"]
            state, _ = strategy.tell(telling, x, gaps, state, params)
            return state, step + 1, jnp.where(hit.any(), step * samples + 1.0 + jnp.argmax(hit), found)

        state, _, found = jax.lax.while_loop(going, body, (strategy.init(key, start, params), 0, jnp.inf))
        matrix = getattr(state, "B", jnp.zeros((n, n)))
        return found, jnp.max(jnp.abs(matrix - jnp.diag(jnp.diag(matrix))))

    each = product(request["scales"], zip(request["seeds"], request["starts"], strict=True))
    cases = [(seed, start, scale) for scale, (seed, start) in each]
    seeds, starts, scales = (jnp.asarray(column) for column in zip(*cases, strict=True))
    found, off = jax.jit(jax.vmap(run))(seeds, starts, scales)
    rows, off = np.asarray(found).reshape(count, -1), np.asarray(off).reshape(count, -1)
    return [(row.tolist(), float(np.nan_to_num(other).max())) for row, other in zip(rows, off, strict=True)]


def searches(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One object for each N and scale."""
    for samples in request["samples"]:
        if request["method"] == CMAES:
            found = [(by_cmaes(request, samples, scale), 0.0) for scale in request["scales"]]
        else:
            found = by_evosax(request, samples)
        for scale, (evaluations, off) in zip(request["scales"], found, strict=True):
            told = [one if math.isfinite(one) else None for one in evaluations]
            yield {"samples": samples, "scale": scale, "evaluations": told, "off_diagonal": off}


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of divisions in searches that collapse
    asked = json.loads(sys.argv[1])
    packages = ["cmaes", "numpy"] if asked["method"] == CMAES else ["evosax", "jax", "jaxlib"]
    answer = list(searches(asked))
    print(json.dumps({"searches": answer, "versions": {name: version(name) for name in packages}}))
