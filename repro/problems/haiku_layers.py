"""The linear maps of a Haiku network: what Kronecker factors and eigenbases need, found by watching its modules.

``hk.intercept_methods`` sees every call of an ``hk.Linear``. Its inputs are noted, and zeros are added to its outputs:
the derivatives in these zeros, by one backward pass, are the sensitivities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array

from repro.errors import InputError
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Blocks, Partition

REMEDY = "leave layers out, and take an optimiser that does without them"


@dataclass(frozen=True)
class HaikuLayers:
    """The linear maps of a network whose parameters are those of ``hk.Linear`` modules, each of them called once.

    See :class:`repro.problems.supervised.LinearMaps`.

    Attributes:
        apply: of the transformed network, ``(params, x (S, ...)) -> (S, N)``, not compiled: the modules of a compiled
            one cannot be watched.
    """

    apply: Callable[[Any, Array], Array]

    def partition(self, params: Mapping[str, Mapping[str, Array]]) -> Partition:
        """One matrix for each module, in the order of their names; both ways linear and isometric.

        Its shape is ``(I + 1, O)`` with the bias as last row, or ``(I, O)`` without bias.

        Args:
            params: of the network, by module and name.

        Raises:
            InputError: naming a module with other parameters than a matrix ``w`` and a bias ``b``.
        """
        structure = jax.tree.structure(params)
        biased = {name: "b" in _checked(name, params[name]) for name in sorted(params)}

        def split(tree: Mapping[str, Mapping[str, Array]]) -> Blocks:
            return tuple(
                jnp.concatenate([tree[name]["w"], tree[name]["b"][None]]) if has_bias else tree[name]["w"]
                for name, has_bias in biased.items()
            )

        def join(blocks: Blocks) -> Any:
            # JAX sorts the leaves of mappings: b comes before w.
            leaves: list[Array] = []
            for block, has_bias in zip(blocks, biased.values(), strict=True):
                leaves += [block[-1], block[:-1]] if has_bias else [block]
            return jax.tree.unflatten(structure, leaves)

        return Partition(split, join)

    def layers(
        self, params: Mapping[str, Mapping[str, Array]], x: Array, slopes: Callable[[Array], Array]
    ) -> tuple[LinearLayer, ...]:
        """What each map sees, as a layer of one "particle", in the order of the blocks.

        Args:
            params: where.
            x: inputs of the network, shape ``(S, ...)``.
            slopes: from the outputs ``(S, N)`` to what is propagated back, ``(S, N)``: the sensitivities are the
                derivatives of its inner product with the outputs. If it is ``(M, S, N)``, there are M of them.

        Returns:
            Of each, own inputs ``(1, S, I)``, mean ``(S, 0)``, constant ``(S, 1)``, or ``(S, 0)`` without bias, and
            sensitivity ``(1, S, O)``, or ``(M, S, O)``.

        Raises:
            InputError: naming a module that is no ``hk.Linear``, is called twice, or not on one row for each sample.
        """
        samples = x.shape[0]
        names = sorted(params)
        matrices = [_checked(name, params[name])["w"] for name in names]
        zeros = {name: jnp.zeros((samples, w.shape[1]), w.dtype) for name, w in zip(names, matrices, strict=True)}

        def shifted(shifts: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            seen: dict[str, Array] = {}

            def watch(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: hk.MethodContext) -> Any:
                found = call(*args, **kwargs)
                if type(context.module) is not hk.Linear or context.method_name != "__call__":
                    return found
                name, inputs = context.module.module_name, (*args, *kwargs.values())[0]
                if name in seen:
                    raise InputError(f"module {name!r} is called twice, and its weights are shared; {REMEDY}")
                if inputs.ndim != 2 or inputs.shape[0] != samples:
                    raise InputError(
                        f"module {name!r} is called on the shape {inputs.shape}: must be ({samples}, I), one row for "
                        f"each sample; {REMEDY}"
                    )
                seen[name] = inputs
                return found + shifts[name]

            with hk.intercept_methods(watch):
                outputs = self.apply(params, x)
            for name in names:
                if name not in seen:
                    raise InputError(
                        f"module {name!r} was not seen: must be an hk.Linear of an apply that is not compiled; {REMEDY}"
                    )
            return outputs, seen

        outputs, pull, seen = jax.vjp(shifted, zeros, has_aux=True)
        slope = slopes(outputs)
        (sensitivities,) = jax.vmap(pull)(slope) if slope.ndim == 3 else pull(slope)
        none = jnp.zeros((samples, 0), outputs.dtype)
        constants = [jnp.ones((samples, 1), outputs.dtype) if "b" in params[name] else none for name in names]
        return tuple(
            LinearLayer(seen[name][None], none, constant, sensitivities[name].reshape(-1, *zeros[name].shape))
            for name, constant in zip(names, constants, strict=True)
        )


def _checked(name: str, weights: Mapping[str, Array]) -> Mapping[str, Array]:
    """The parameters of a module, if they can be those of an ``hk.Linear``."""
    if not {"w"} <= set(weights) <= {"w", "b"} or weights["w"].ndim != 2:
        shapes = ", ".join(f"{parameter} {weights[parameter].shape}" for parameter in weights)
        raise InputError(f"module {name!r} has the parameters {shapes}: only those of hk.Linear are known; {REMEDY}")
    return weights
