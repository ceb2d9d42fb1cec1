"""A problem with all that a run of it needs: where it begins, its data, and what is measured now and then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from repro.problems.base import Problem


class Trainable(NamedTuple):
    """What the builder of a problem makes from its configuration; see :data:`repro.problems.registry.BUILDERS`.

    Attributes:
        problem: what is minimised, with its size of a minibatch.
        initial: key -> the first parameters, in the precision of the data.
        coefficients: what the problem takes as such: a tree of NumPy arrays, such as (inputs, targets). They are no
            part of a checkpoint.
        held_out: further arrays that :attr:`evaluate` takes, such as inputs and targets for a test; None for none.
        evaluate: ``(params, coefficients, held_out)`` -> numbers by the names of :attr:`evaluated`, a pure function.
        evaluated: names of what is measured now and then, columns of the curve.
        reported: names of what the problem's ``metrics`` give, columns of the curve; the first is the objective.
        told: which data were used, in a line for people; "" where the name of the problem says it.
    """

    problem: Problem
    initial: Callable[[Array], Any]
    coefficients: Any
    held_out: Any
    evaluate: Callable[[Any, Any, Any], dict[str, Array]]
    evaluated: tuple[str, ...]
    reported: tuple[str, ...] = ("loss",)
    told: str = ""

    @property
    def data_digest(self) -> str:
        """SHA-256 of the arrays, training and test, with their shapes and types."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves((self.coefficients, self.held_out)):
            array = np.ascontiguousarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
