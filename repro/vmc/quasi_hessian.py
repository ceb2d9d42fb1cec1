"""The quasi-Hessian: the Hessian of the energy without the term in second derivatives of ln|psi|.

With D = d ln|psi| / d theta and D, dE_L/d theta centred over the walkers,

    H_Q = 4 E[(E_L - E) D D^T] + 2 E[dE_L/d theta D^T], symmetrised,

what is left out is 2 E[(E_L - E) d^2 ln|psi| / d theta^2] (M. Drissi et al., arXiv:2401.17550). H_Q is not positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from repro.curvature.jacobian import CentredScores, centred
from repro.curvature.linearized import in_chunks, sum_over_samples
from repro.numerics.batching import largest_divisor
from repro.numerics.sharding import global_count, mean_from_sums, psum
from repro.parameters.partition import Blocks, replaced
from repro.vmc.derivatives import Derivatives


@dataclass(frozen=True)
class QuasiHessian:
    """H_Q as an operator; see :class:`~repro.curvature.pullback.Curvature`.

    The derivatives of the local energy occur in products only, by forward or backward differentiation through it. The
    potential does not depend on the parameters, so the derivatives of the kinetic part are all there is.

    Attributes:
        derivatives: at the walkers.
        fluctuation: E_L - E, shape ``(W,)``.
    """

    derivatives: Derivatives
    fluctuation: Array

    def _kinetic(self, blocks: Blocks, x: Array) -> Array:
        """-1/2 (laplacian of psi) / psi, shape ``(1, W)``."""
        return -0.5 * self.derivatives.psi.laplacian_ratio(self.derivatives.parts.join(blocks), x)[None]

    def _here(self) -> Blocks:
        return self.derivatives.parts.split(self.derivatives.params)

    def _energy_pushes(self, vectors: tuple[Blocks, ...]) -> Array:
        """dE_L/d theta v, centred, for each vector; shape ``(n, W)``."""
        here = self._here()

        def pushes(x: Array) -> Array:
            def along(*v: Array) -> Array:
                return jax.jvp(lambda *blocks: self._kinetic(blocks, x)[0], here, v)[1]

            return jax.vmap(along)(*(jnp.stack(parts) for parts in zip(*vectors, strict=True)))

        # Each vector is carried through the network beside the state itself.
        chunk = self.derivatives.chunk
        chunk = largest_divisor(chunk, max(1, chunk // (len(vectors) + 1)))
        return centred(in_chunks(pushes, self.derivatives.x, chunk))

    def _energy_pull(self, weights: Array) -> Blocks:
        """(dE_L/d theta)^T r, centred."""
        here, x, chunk = self._here(), self.derivatives.x, self.derivatives.chunk
        values, pull = jax.vjp(lambda *blocks: in_chunks(lambda y: self._kinetic(blocks, y), x, chunk), *here)
        return pull(centred(weights).reshape(values.shape))

    def _scores(self, v: Blocks) -> Array:
        scores = CentredScores(self.derivatives.scores)
        first, *others = (scores.push(index, block)[0] for index, block in enumerate(v))
        return sum(others, start=first)

    def matvec(self, v: Blocks) -> Blocks:
        """H_Q v."""
        scores = CentredScores(self.derivatives.scores)
        pushed, energies = self._scores(v), self._energy_pushes((v,))[0]
        walkers = global_count(pushed.shape[0])
        weights = (4.0 * self.fluctuation * pushed + energies) / walkers
        backward = self._energy_pull(pushed / walkers)
        return psum(tuple(scores.pull(index, weights[None]) + part for index, part in enumerate(backward)))

    def block_matvec(self, index: int, block: Array) -> Array:
        """The diagonal block of one layer, times that layer's part of a vector."""
        nothing = tuple(jnp.zeros_like(part) for part in self._here())
        return self.matvec(replaced(nothing, index, block))[index]

    def block_diagonal(self, v: Blocks) -> Blocks:
        """H_Q without what couples different layers, times v."""
        count = len(v)
        alone = tuple(
            jnp.stack([block if i == index else jnp.zeros_like(block) for i in range(count)])
            for index, block in enumerate(v)
        )
        products = jax.lax.map(self.matvec, alone)
        return tuple(product[index] for index, product in enumerate(products))

    def diagonal(self, index: int) -> Array:
        """Diagonal entries of H_Q that belong to one layer, from explicit rows of a few walkers at a time."""
        here, x = self._here(), self.derivatives.x
        walkers = x.shape[0]

        def rows(walker: Array) -> tuple[Array, Array]:
            def log_psi(value: Array) -> Array:
                joined = self.derivatives.parts.join(replaced(here, index, value))
                return self.derivatives.psi.log_psi(joined, walker[None])[0]

            energy = jax.grad(lambda value: self._kinetic(replaced(here, index, value), walker[None])[0, 0])
            return jax.grad(log_psi)(here[index]), energy(here[index])

        score, energy = mean_from_sums(sum_over_samples(rows, x), walkers)

        def entry(walker: Array, fluctuation: Array) -> Array:
            d, e = rows(walker)
            return 4.0 * fluctuation * (d - score) ** 2 + 2.0 * (e - energy) * (d - score)

        return mean_from_sums(sum_over_samples(entry, x, self.fluctuation), walkers)

    def gram(self, vectors: tuple[Blocks, ...]) -> Array:
        """v_i^T H_Q v_j, shape ``(n, n)``."""
        scores = jnp.stack([self._scores(v) for v in vectors])
        cross = self._energy_pushes(vectors) @ scores.T
        return mean_from_sums(4.0 * (self.fluctuation * scores) @ scores.T + cross + cross.T, scores.shape[1])


def quasi_hessian(derivatives: Derivatives, local_energies: Array) -> QuasiHessian:
    """H_Q at the walkers.

    Args:
        derivatives: at the walkers.
        local_energies: E_L there, shape ``(W,)``.
    """
    return QuasiHessian(derivatives, centred(local_energies))
