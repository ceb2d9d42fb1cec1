"""Six optimisers on four small problems, with and without tuning: a scale model of a benchmark of optimisers.

R. M. Schmidt, F. Schneider, P. Hennig, "Descending through a Crowded Valley", ICML 2021, compared 14 optimisers on 8
problems, each with its default learning rate and with tuned ones, with and without a schedule. Here all rates and seeds
of an optimiser on a problem are trained by one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from repro.datasets import load_images
from repro.demonstrations.base import Values

OPTIMIZERS: dict[str, tuple[Callable[[], optax.GradientTransformation], float]] = {
    "SGD": (lambda: optax.sgd(1.0), 1e-2),
    "momentum": (lambda: optax.sgd(1.0, momentum=0.9), 1e-2),
    "Nesterov": (lambda: optax.sgd(1.0, momentum=0.9, nesterov=True), 1e-2),
    "Adagrad": (lambda: optax.adagrad(1.0), 1e-2),
    "RMSProp": (lambda: optax.rmsprop(1.0), 1e-3),
    "Adam": (lambda: optax.adam(1.0), 1e-3),
}
"""Each at unit rate, and the default rate of its implementations, as in the benchmark."""
RATES = tuple(float(rate) for rate in 10.0 ** np.linspace(-4.0, 0.0, 9))
SCHEDULES = ("constant", "cosine")
BATCH = 64


class SmallProblem(NamedTuple):
    """A problem that trains in a second.

    Attributes:
        init: from a key to parameters.
        loss: of parameters and the rows of a minibatch.
        whole: the loss on all samples, by which optimisers are compared.
        samples: how many there are.
    """

    init: Callable[[Array], Any]
    loss: Callable[[Any, Array], Array]
    whole: Callable[[Any], Array]
    samples: int


@dataclass(frozen=True)
class CrowdedValley:
    """The final losses.

    Attributes:
        problems: their names.
        optimizers: their names.
        rates: that were tried, shape ``(R,)``.
        default: final losses at default rates, medians of the seeds, shape ``(O, P)``.
        tuned: at the best of all rates, constant or cosine, shape ``(2, O, P)``.
        losses: of every rate, shape ``(2, O, P, R)``; infinite where a run diverged.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    problems: tuple[str, ...]
    optimizers: tuple[str, ...]
    rates: np.ndarray
    default: np.ndarray
    tuned: np.ndarray
    losses: np.ndarray
    values: Values


def small_problems() -> dict[str, SmallProblem]:
    """A noisy quadratic; of scikit-learn's digits a logistic regression, a classifier and an autoencoder."""
    images = load_images("digits")
    x, y = jnp.asarray(images.training), jnp.asarray(images.training_labels)

    def model(init_apply: hk.Transformed, loss: Callable[[Array, Array], Array]) -> SmallProblem:
        def of_rows(params: Any, rows: Array) -> Array:
            return loss(init_apply.apply(params, None, x[rows]), rows)

        return SmallProblem(
            lambda key: init_apply.init(key, x[:1]), of_rows, lambda params: of_rows(params, jnp.arange(len(x))), len(x)
        )

    def cross_entropy(logits: Array, rows: Array) -> Array:
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]))

    def reconstruction(logits: Array, rows: Array) -> Array:
        return jnp.mean(jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x[rows]), axis=-1))

    return {
        "noisy quadratic": _noisy_quadratic(),
        "logistic regression": model(hk.transform(lambda z: hk.Linear(10)(z)), cross_entropy),
        "classifier": model(hk.transform(lambda z: hk.nets.MLP([32, 32, 10])(z)), cross_entropy),
        "autoencoder": model(hk.transform(lambda z: hk.nets.MLP([32, 8, 32, 64])(z)), reconstruction),
    }


def _noisy_quadratic(size: int = 100, condition_number: float = 1000.0, samples: int = 1000) -> SmallProblem:
    """1/2 theta^T H theta + noise: the mean of samples whose minima lie about the origin.

    H is diagonal with eigenvalues that are spread evenly in their logarithm; the loss is that above the minimum.
    """
    curvature = jnp.asarray(np.logspace(0.0, -np.log10(condition_number), size), jnp.float32)
    drawn = np.random.default_rng(0).normal(size=(samples, size)).astype(np.float32)
    centres = jnp.asarray(0.1 * (drawn - drawn.mean(axis=0)))

    def loss(theta: Array, rows: Array) -> Array:
        return 0.5 * jnp.mean(jnp.sum(curvature * (theta - centres[rows]) ** 2, axis=-1))

    return SmallProblem(
        lambda key: jax.random.normal(key, (size,)), loss, lambda theta: 0.5 * jnp.sum(curvature * theta**2), samples
    )


def final_losses(problem: SmallProblem, optimizer: optax.GradientTransformation, steps: int, seeds: int) -> np.ndarray:
    """The loss on all samples after training, for each schedule, rate and seed.

    Args:
        problem: what is trained.
        optimizer: at unit rate: its updates are multiplied by the rate.
        steps: of training, with minibatches that are drawn anew in each.
        seeds: how many, of start and minibatches.

    Returns:
        Shape ``(2, R, seeds)``, of :data:`SCHEDULES` and :data:`RATES`; infinite where it is not finite.
    """

    def train(cosine: Array, rate: Array, seed: Array) -> Array:
        key = jax.random.key(seed)
        params = problem.init(jax.random.fold_in(key, 0))

        def step(number: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, state = carry
            rows = jax.random.randint(jax.random.fold_in(key, number + 1), (BATCH,), 0, problem.samples)
            updates, state = optimizer.update(jax.grad(problem.loss)(params, rows), state, params)
            factor = rate * jnp.where(cosine, 0.5 * (1.0 + jnp.cos(jnp.pi * number / steps)), 1.0)
            return jax.tree.map(lambda p, u: p + factor * u, params, updates), state

        params, _ = jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))
        return problem.whole(params)

    # One after the other: matrix products of many small networks at once are slower on a processor.
    grid = jnp.meshgrid(jnp.array([False, True]), jnp.asarray(RATES, jnp.float32), jnp.arange(seeds), indexing="ij")
    members = tuple(part.ravel() for part in grid)
    losses = jax.jit(lambda all_of: jax.lax.map(lambda one: train(*one), all_of))(members)
    found = np.asarray(losses, np.float64).reshape(len(SCHEDULES), len(RATES), seeds)
    return np.where(np.isfinite(found), found, np.inf)


def valley(*, steps: int = 200, seeds: int = 3) -> CrowdedValley:
    """Trains six optimisers on four problems at nine rates, constant and with a cosine schedule.

    Args:
        steps: of every training.
        seeds: how many; medians are compared.
    """
    problems = small_problems()
    found = np.array(
        [
            [np.median(final_losses(problem, make(), steps, seeds), axis=-1) for problem in problems.values()]
            for make, _ in OPTIMIZERS.values()
        ]
    )
    losses = np.moveaxis(found, 2, 0)
    places = [int(np.argmin(np.abs(np.log(RATES) - np.log(rate)))) for _, rate in OPTIMIZERS.values()]
    default = np.array([losses[0, row, :, place] for row, place in enumerate(places)])
    tuned = losses.min(axis=-1)
    return CrowdedValley(
        tuple(problems), tuple(OPTIMIZERS), np.array(RATES), default, tuned, losses, _values(default, tuned)
    )


def _values(default: np.ndarray, tuned: np.ndarray) -> Values:
    """What the claims rest on.

    Args:
        default: shape ``(O, P)``.
        tuned: shape ``(2, O, P)``.
    """
    best = tuned.min(axis=0)
    winners = np.argmin(best, axis=0)
    of_defaults = default.min(axis=0)
    ratios = of_defaults[None] / best
    cosine = tuned[1] / tuned[0]
    return {
        "most_wins_of_one": float(np.bincount(winners, minlength=len(best)).max()),
        "best_default_over_tuned": float(np.median(ratios)),
        "best_default_over_best_tuned": float(np.median(of_defaults / best.min(axis=0))),
        "cosine_over_constant": float(np.median(cosine)),
        "tuned_over_default": float(np.median(best / default)),
    }
