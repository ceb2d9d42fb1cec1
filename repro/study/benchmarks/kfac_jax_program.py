"""Trains the autoencoder with kfac-jax: a program for another environment, which has kfac-jax and an older JAX.

``python kfac_jax_program.py REQUEST`` with REQUEST a JSON object prints a JSON object in its last line. It imports
nothing of this package, whose JAX is too new for kfac-jax 0.0.8. See :mod:`repro.study.benchmarks.kfac_jax`, which
calls it and says what is in both objects.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS = {"tanh": jnp.tanh, "logistic": jax.nn.sigmoid}


def logits(params: list[dict[str, Any]], images: Any, activation: str) -> Any:
    """Of the pixels; the code in the middle is linear."""
    code, last, x = len(params) // 2 - 1, len(params) - 1, images
    for number, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        if number not in (code, last):
            x = ACTIVATIONS[activation](x)
    return x


def optimizer_for(request: dict[str, Any]) -> Any:
    """K-FAC as in its paper: damping, step and momentum adapted, factors from sampled targets."""
    import kfac_jax

    def objective(params: list[dict[str, Any]], images: Any) -> Any:
        z = logits(params, images, request["activation"])
        kfac_jax.register_multi_bernoulli_predictive_distribution(z)
        cross_entropies = jnp.sum(jnp.logaddexp(0.0, z) - images * z, axis=1)
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return jnp.mean(cross_entropies) + 0.5 * request["l2"] * squares

    return kfac_jax.Optimizer(
        jax.value_and_grad(objective),
        l2_reg=request["l2"],
        use_adaptive_learning_rate=True,
        use_adaptive_momentum=True,
        use_adaptive_damping=True,
        initial_damping=request["damping"],
        damping_adaptation_interval=5,
        damping_adaptation_decay=0.95,
        include_damping_in_quad_change=True,
        curvature_ema=0.95,
        inverse_update_period=request["inverse_interval"],
        estimation_mode="fisher_gradients",
        num_burnin_steps=0,
    )


def train(request: dict[str, Any]) -> dict[str, Any]:
    """What the request asks for; its keys and those of the answer are explained where it is made."""
    with np.load(request["arrays"]) as arrays:
        training = jnp.asarray(arrays["training"])
        count = sum(name.endswith("/w") for name in arrays)
        params: Any = [{part: jnp.asarray(arrays[f"{n}/{part}"]) for part in ("w", "b")} for n in range(count)]
    optimizer, generator = optimizer_for(request), np.random.default_rng(request["seed"])
    key = jax.random.PRNGKey(request["seed"])
    squares = jax.jit(
        lambda theta: jnp.sum((jax.nn.sigmoid(logits(theta, training, request["activation"])) - training) ** 2, axis=1)
    )
    batches = [
        training[generator.choice(len(training), request["batch_size"], replace=False)] for _ in range(request["steps"])
    ]
    clock, begin = time.process_time(), time.monotonic()
    state = optimizer.init(params, key, batches[0])
    preparing = time.process_time() - clock
    answer: dict[str, Any] = {"losses": [], "dampings": [], "cpu_seconds": [], "errors": []}
    for number, batch in enumerate(batches):
        key, own = jax.random.split(key)
        clock = time.process_time()
        params, state, told = optimizer.step(params, state, own, batch=batch, global_step_int=number)
        jax.block_until_ready(params)
        answer["cpu_seconds"].append(time.process_time() - clock)
        answer["losses"].append(float(told["loss"]))
        answer["dampings"].append(float(told["damping"]))
        if (number + 1) % request["interval"] == 0:
            answer["errors"].append([number + 1, float(jnp.mean(squares(params)))])
    return answer | {
        "preparing_cpu_seconds": preparing,
        "seconds": time.monotonic() - begin,
        "versions": {name: version(name) for name in ("kfac-jax", "jax", "jaxlib")},
    }


if __name__ == "__main__":
    print(json.dumps(train(json.loads(sys.argv[1]))))
