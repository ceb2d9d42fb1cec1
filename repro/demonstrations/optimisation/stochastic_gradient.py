"""The gradient of a batch against that of all samples: unbiased, noisy, and along it only at the beginning of training.

For S samples with gradients g_s, mean g and covariance C, the mean over B drawn samples has the expectation g and the
covariance C / B. The cosine between the two is then close to 1 / sqrt(1 + tr C / (B |g|^2)): the noise stays while the
gradient itself gets small (H. Robbins, S. Monro, Ann. Math. Stat. 22, 400 (1951), for the method).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.digit_networks import Classifier, classifier, trained
from repro.demonstrations.optimisation.digits import digits

GROUPS = 10
"""Of repeated draws: the scatter between them is the error of a slope."""


@dataclass(frozen=True)
class Cosines:
    """Cosines between the gradient of a batch and that of all samples, along a training.

    Attributes:
        steps: of Adam, shape ``(T,)``.
        drawn: of every batch, shape ``(T, batches)``.
        expected: 1 / sqrt(1 + tr C' / (B |g|^2)), shape ``(T,)``, with the covariance C' of draws without replacement.
        losses: of all samples, in nats, shape ``(T,)``.
    """

    steps: np.ndarray
    drawn: np.ndarray
    expected: np.ndarray
    losses: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Over the batches, shape ``(T,)``."""
        return self.drawn.mean(1)

    @property
    def errors(self) -> np.ndarray:
        """Standard errors of the means, shape ``(T,)``."""
        return self.drawn.std(1, ddof=1) / np.sqrt(self.drawn.shape[1])


@dataclass(frozen=True)
class StochasticGradient:
    """What is drawn.

    Attributes:
        batch: samples of a batch.
        epoch_errors: relative error of the mean of the first k batches of one epoch, weighted by their sizes, shape
            ``(K,)``.
        epoch_error_unweighted: of the plain mean of all batches of the epoch: its last batch is smaller.
        counts: numbers of random batches that are averaged, shape ``(M,)``.
        sampling_errors: root mean square of the relative error of their mean, by group, shape ``(groups, M)``.
        expected_errors: sqrt(tr C / (B count)) / |g|, shape ``(M,)``.
        by_all: cosines along a training in which each step uses all samples.
        by_batches: cosines along a training in which each step uses a batch.
    """

    batch: int
    epoch_errors: np.ndarray
    epoch_error_unweighted: float
    counts: np.ndarray
    sampling_errors: np.ndarray
    expected_errors: np.ndarray
    by_all: Cosines
    by_batches: Cosines

    @property
    def slopes(self) -> np.ndarray:
        """Of ln(error) against ln(count), one for each group of draws."""
        return np.polyfit(np.log(self.counts), np.log(self.sampling_errors).T, 1)[0]

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        slopes = self.slopes
        return {
            "epoch_error": float(self.epoch_errors[-1]),
            "epoch_error_unweighted": self.epoch_error_unweighted,
            "sampling_slope": float(slopes.mean()),
            "sampling_slope_error": float(slopes.std(ddof=1) / np.sqrt(len(slopes))),
            "cosine_start": float(self.by_all.means[0]),
            "cosine_start_error": float(self.by_all.errors[0]),
            "cosine_trained": float(self.by_all.means[-1]),
            "cosine_trained_error": float(self.by_all.errors[-1]),
            "cosine_trained_on_batches": float(self.by_batches.means[-1]),
            "cosine_trained_on_batches_error": float(self.by_batches.errors[-1]),
        }


def relative_errors(means: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """|m - g| / |g| for every row m of ``means``."""
    return np.linalg.norm(means - gradient, axis=-1) / np.linalg.norm(gradient)


def epoch_errors(gradients: np.ndarray, order: np.ndarray, batch: int) -> tuple[np.ndarray, float]:
    """How far the mean of the first k batches of an epoch is from the full gradient.

    Args:
        gradients: of single samples, shape ``(S, P)``.
        order: of the samples in the epoch, shape ``(S,)``; it is cut into batches, the last of which may be smaller.
        batch: samples of a batch.

    Returns:
        Relative errors of the means weighted by the sizes of the batches, one for each k, and that of the plain mean of
        all batches.
    """
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    sizes = np.array([len(rows) for rows in batches])
    means = np.stack([gradients[rows].mean(0) for rows in batches])
    full = gradients.mean(0)
    weighted = np.cumsum(sizes[:, None] * means, axis=0) / np.cumsum(sizes)[:, None]
    return relative_errors(weighted, full), float(relative_errors(means.mean(0), full))


def sampling_errors(
    gradients: np.ndarray, batch: int, counts: np.ndarray, repeats: int, rng: np.random.Generator
) -> np.ndarray:
    """Root mean squares of the relative error of the mean of ``count`` batches, drawn with replacement.

    Args:
        gradients: of single samples, shape ``(S, P)``.
        batch: samples of a batch.
        counts: numbers of batches, shape ``(M,)``.
        repeats: draws of each of :data:`GROUPS` groups.
        rng: draws the batches.

    Returns:
        Shape ``(groups, M)``.
    """
    samples = len(gradients)
    full, found = gradients.mean(0), np.empty((GROUPS, len(counts)))
    for column, count in enumerate(counts):
        drawn = batch * int(count)
        times = rng.multinomial(drawn, np.full(samples, 1.0 / samples), size=GROUPS * repeats)
        errors = relative_errors(times @ gradients / drawn, full).reshape(GROUPS, repeats)
        found[:, column] = np.sqrt(np.mean(errors**2, axis=1))
    return found


def cosines_along(model: Classifier, steps: tuple[int, ...], batch: int, batches: int, seed: int) -> Cosines:
    """Cosines between batch and full gradients at several moments of a training by Adam.

    Args:
        model: the network, with the batch size of its training.
        steps: where cosines are measured, in rising order.
        batch: samples of a batch whose gradient is compared.
        batches: how many are drawn, each without replacement.
        seed: of the batches.
    """
    rng = np.random.default_rng(seed)
    drawn, expected, losses = [], [], []
    for params in trained(model, steps, seed=seed):
        gradients = model.sample_gradients(params)
        samples, full = len(gradients), gradients.mean(0)
        shares = np.zeros((batches, samples))
        for share in shares:
            share[rng.choice(samples, batch, replace=False)] = 1.0 / batch
        means = shares @ gradients
        drawn.append(means @ full / (np.linalg.norm(means, axis=1) * np.linalg.norm(full)))
        variance = gradients.var(0).sum() / batch * (samples - batch) / (samples - 1)
        expected.append(1.0 / np.sqrt(1.0 + variance / (full @ full)))
        losses.append(float(model.loss(params)))
    return Cosines(np.array(steps), np.array(drawn), np.array(expected), np.array(losses))


@in_double_precision
def batch_gradients(
    *,
    batch: int = 64,
    steps: tuple[int, ...] = (0, 10, 30, 100, 300, 1500),
    batches: int = 200,
    repeats: int = 20,
    most: int = 9,
    seed: int = 0,
) -> StochasticGradient:
    """Batch and full gradients of the 64-16-16-10 tanh network on the 1797 digits.

    Args:
        batch: samples of a batch.
        steps: of Adam (learning rate 3e-3) at which cosines are measured, in rising order, the first of them 0.
        batches: drawn for each cosine.
        repeats: draws of each of ten groups for the error of random batches.
        most: the numbers of random batches are 1, 2, 4, ... 2^(most - 1).
        seed: of the weights and the batches.
    """
    inputs, labels = digits()
    by_all = classifier(inputs, labels, (16, 16), seed=seed)
    by_batches = classifier(inputs, labels, (16, 16), seed=seed, batch_size=batch)
    rng = np.random.default_rng(seed)
    gradients = by_all.sample_gradients(by_all.params)
    counts = 2 ** np.arange(most)
    errors, unweighted = epoch_errors(gradients, rng.permutation(len(gradients)), batch)
    expected = np.sqrt(gradients.var(0).sum() / (batch * counts)) / np.linalg.norm(gradients.mean(0))
    return StochasticGradient(
        batch,
        errors,
        unweighted,
        counts,
        sampling_errors(gradients, batch, counts, repeats, rng),
        expected,
        cosines_along(by_all, steps, batch, batches, seed),
        cosines_along(by_batches, steps, batch, batches, seed),
    )
