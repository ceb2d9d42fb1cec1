"""The optimisers in optax's and JAX's machinery: the same updates as by themselves, or one line that says why not."""

from __future__ import annotations

import io
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from repro.errors import InputError
from repro.optimizers import Optimizer, dgd, from_optax, kfac, minsr, ngd, proximal_dgd, qn_kfac, qn_mr_kfac, spring
from repro.training.epoch import training_epoch
from repro.training.state import TrainState
from repro.vmc.ansatz import slater_wavefunction, trial_state
from repro.vmc.physics.hamiltonian import System
from repro.vmc.problem import MonteCarlo, energy_gradient, walker_energies
from repro.vmc.sampling.metropolis import Chain, initial_chain, walk

pytestmark = pytest.mark.usefixtures("x64")

SYSTEM = System(-1.0, 0.5)
WALKERS = 8
GENERIC = ("adam", "ngd", "dgd", "proximal-dgd", "minsr", "spring")
LAYERED = ("kfac", "qn-kfac", "qn-mr-kfac")
SECOND_ORDER = (*GENERIC[1:], *LAYERED)
COSTLY = LAYERED
"""Op by op these take many seconds, and their loops to compile: loops are traced, and run with the one program that
there is."""
TRANSFORMED = (*GENERIC, "qn-mr-kfac")
"""Those that are compiled: of the layered ones that whose state has all there is in the others' states."""


def optimizer_of(name: str, given: Any) -> Optimizer:
    few = {"minres_iterations": 2}
    made = {
        "adam": lambda: from_optax(optax.adam(1e-2)),
        "ngd": lambda: ngd(given, **few),
        "dgd": lambda: dgd(given, **few),
        "proximal-dgd": lambda: proximal_dgd(given),
        "minsr": lambda: minsr(given),
        "spring": lambda: spring(given),
        "kfac": lambda: kfac(given),
        "qn-kfac": lambda: qn_kfac(given),
        "qn-mr-kfac": lambda: qn_mr_kfac(given, **few),
    }
    return made[name]()


def log_psi(params, x):
    """Two particles; keys not in alphabetical order, blocks of 1, 3 and 1 numbers, one of them nested."""
    inner = jnp.tanh(params["y"]["w"] @ jnp.append(x, x[0] * x[1]))
    return inner + jnp.sin(params["x"] * x[0]) - 0.5 * params["z"] ** 2 * (x @ x)


def start() -> dict[str, Any]:
    return {"z": jnp.array(0.9, float), "y": {"w": jnp.array([0.4, -0.3, 0.2])}, "x": jnp.array(0.1, float)}


class Batch(NamedTuple):
    """What an update takes."""

    grads: Any
    walkers: jax.Array
    local_energies: jax.Array


class Ready(NamedTuple):
    """An optimiser before its first update, of which nothing is compiled.

    Attributes:
        optimizer: as a user has it.
        params: where it starts.
        batches: of two updates.
        state: the fresh one.
    """

    optimizer: Optimizer
    params: Any
    batches: tuple[Batch, Batch]
    state: Any


class Case(NamedTuple):
    """An optimiser by itself, and two updates of it.

    Attributes:
        name: of the optimiser.
        optimizer: as a user has it.
        program: its update, compiled, to which state and parameters are donated; the new parameters are its third.
        shared: the same for whoever keeps them.
        params: where it starts.
        batches: of two updates.
        updates: the two.
        state: after them.
    """

    name: str
    optimizer: Optimizer
    program: Any
    shared: Optimizer
    params: Any
    batches: tuple[Batch, Batch]
    updates: list[Any]
    state: Any


@cache
def situation(layered: bool) -> tuple[Any, Any, tuple[Batch, Batch]]:
    """A state, its parameters, and two batches of walkers."""
    if layered:
        psi = slater_wavefunction(2, 1, 1, dtype="float64")
        params = jax.tree.map(lambda leaf: 2.0 * leaf, psi.init(jax.random.key(1)))
    else:
        psi, params = trial_state(log_psi), start()

    @jax.jit
    def batch(key):
        x = 0.8 * jax.random.normal(key, (WALKERS, 2), jnp.float64)
        energies = walker_energies(psi, params, x, SYSTEM, WALKERS)
        return Batch(energy_gradient(psi, params, x, energies, WALKERS), x, energies)

    def in_order(batch):
        return batch._replace(grads={key: batch.grads[key] for key in params})

    return psi, params, (in_order(batch(jax.random.key(0))), in_order(batch(jax.random.key(1))))


@cache
def ready(name: str) -> Ready:
    psi, params, batches = situation(name in LAYERED)
    optimizer = optimizer_of(name, psi)
    return Ready(optimizer, params, batches, optimizer.init(params))


@cache
def case(name: str) -> Case:
    optimizer, params, batches, _ = ready(name)

    def step(grads, state, params, **extra):
        updates, state = optimizer.update(grads, state, params, **extra)
        return updates, state, optax.apply_updates(params, updates)

    program = jax.jit(step, donate_argnums=(1, 2))

    def update(grads, state, params=None, **extra):
        state, params = jax.tree.map(jnp.copy, (state, params))
        with jax.disable_jit(False):
            return program(grads, state, params, **extra)[:2]

    shared = Optimizer(optimizer.init, update)
    updates, state = descend(shared, params, batches)
    assert all(optax.tree.norm(update) > 1e-6 for update in updates)
    return Case(name, optimizer, program, shared, params, batches, updates, state)


def extra(batch):
    return {"walkers": batch.walkers, "local_energies": batch.local_energies}


def one(update, state, params, batch):
    return update(batch.grads, state, params, **extra(batch))


def descend(optimizer, params, batches, state=None):
    """The updates, one after another, and the state after them."""
    state, updates = optimizer.init(params) if state is None else state, []
    for batch in batches:
        found, state = one(optimizer.update, state, params, batch)
        params = optax.apply_updates(params, found)
        updates.append(found)
    return updates, state


def close(found, expected, rtol=1e-7):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = np.abs(np.asarray(b, np.float64)).max(initial=0.0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def alike(found, given):
    """Asserts that the leaves have the same shapes and types, so that a loop may carry them."""
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), found, given)


def refused(told, function, *arguments, **named):
    """Asserts that this is refused, in one line that says all of these."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    for part in (told,) if isinstance(told, str) else told:
        assert part in message


def distinct(tree):
    """Asserts that no two leaves share a buffer, as donation requires."""
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]
    assert len(set(buffers)) == len(buffers)


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


# Transformations of JAX.


def jitted(one_case):
    """Compiled, which the case's own updates are, and not."""
    if one_case.name in COSTLY:
        return
    updates, state = descend(one_case.optimizer, one_case.params, one_case.batches[:1])
    close(updates, one_case.updates[:1])
    distinct(state)


def vmapped(one_case):
    """Two seeds: other parameters and other walkers."""
    starts = (one_case.params, jax.tree.map(lambda leaf: 1.1 * leaf, one_case.params))
    orders = (one_case.batches, one_case.batches[::-1])
    updates = [descend(one_case.shared, params, order)[0] for params, order in zip(starts, orders, strict=True)]
    both = Optimizer(jax.vmap(one_case.optimizer.init), jax.jit(jax.vmap(one_case.shared.update)))
    found, _ = descend(both, stacked(starts), [stacked(pair) for pair in zip(*orders, strict=True)])
    close(found, [stacked(pair) for pair in zip(*updates, strict=True)])


def scanned(one_case):
    def body(carry, batch):
        params, state = carry
        updates, state = one(one_case.shared.update, state, params, batch)
        return (optax.apply_updates(params, updates), state), updates

    def loop(carry):
        return jax.lax.scan(body, carry, stacked(one_case.batches))

    carry = one_case.params, one_case.optimizer.init(one_case.params)
    alike(jax.eval_shape(loop, carry)[0], carry)
    with jax.disable_jit(one_case.name in COSTLY):
        (_, state), updates = loop(carry)
    close(updates, stacked(one_case.updates))
    close(state, one_case.state)


def donated(one_case):
    params = jax.tree.map(jnp.copy, one_case.params)
    state = one_case.optimizer.init(params)
    distinct((params, state))
    found = []
    for batch in one_case.batches:
        before = params
        updates, state, params = one(one_case.program, state, params, batch)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
        distinct((updates, state, params))
        found.append(updates)
    close(found, one_case.updates)


def stored(one_case):
    """Flattened, written and read, and put together as the fresh state is."""
    state, (_, batch) = one_case.state, one_case.batches
    leaves, structure = jax.tree.flatten(state)
    assert structure == jax.tree.structure(one_case.optimizer.init(one_case.params))
    file = io.BytesIO()
    np.savez(file, *leaves)
    file.seek(0)
    with np.load(file) as read:
        restored = jax.tree.unflatten(structure, [read[f"arr_{index}"] for index in range(len(leaves))])
    expected = one(one_case.shared.update, state, one_case.params, batch)
    found = one(one_case.shared.update, restored, one_case.params, batch)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# Wrappers of optax.


def chained(one_case):
    given, (batch, _) = one_case.shared, one_case.batches
    through = optax.chain(optax.clip_by_global_norm(1e9), given, optax.scale(0.5), optax.scale(2.0))
    close(descend(through, one_case.params, one_case.batches)[0], one_case.updates)

    # Clipped after the optimiser, its update; before it, what it is given.
    def first(optimizer, batch):
        return one(optimizer.update, optimizer.init(one_case.params), one_case.params, batch)[0]

    update = one_case.updates[0]
    short = 0.5 * float(optax.tree.norm(update))
    close(first(optax.chain(given, optax.clip_by_global_norm(short)), batch), optax.tree.scale(0.5, update))
    clip = optax.clip_by_global_norm(1e-2)
    clipped = batch._replace(grads=clip.update(batch.grads, clip.init(one_case.params))[0])
    assert optax.tree.norm(batch.grads) > 1e-2
    close(first(optax.chain(clip, given), batch), first(given, clipped))


def chained_by_name(one_case):
    through = optax.named_chain(
        ("clip", optax.clip_by_global_norm(1e9)), ("optimizer", one_case.shared), ("scale", optax.scale(1.0))
    )
    updates, state = descend(through, one_case.params, one_case.batches)
    close(updates, one_case.updates)
    close(state["optimizer"], one_case.state)


def masked(one_case):
    """Nothing held back works for all; holding parameters back is for those that treat each by itself."""
    params, (batch, _) = one_case.params, one_case.batches
    everything = optax.masked(one_case.shared, jax.tree.map(lambda _: True, params))
    close(descend(everything, params, one_case.batches)[0], one_case.updates)
    last = jax.tree.leaves(params)[-1]
    part = optax.masked(one_case.optimizer, jax.tree.map(lambda leaf: leaf is not last, params))
    if one_case.name == "adam":
        found, expected = one(part.update, part.init(params), params, batch)[0], one_case.updates[0]
        close(jax.tree.leaves(found)[:-1], jax.tree.leaves(expected)[:-1])
        np.testing.assert_array_equal(jax.tree.leaves(found)[-1], jax.tree.leaves(batch.grads)[-1])
        return
    told = ("is masked", "couples all parameters", "leaving it out of the tree")
    refused(told, part.init, params)
    state = optax.MaskedState(one_case.optimizer.init(params))
    refused(told, one, part.update, state, params, batch)


def in_groups(one_case):
    """One group works for all, several where each parameter is treated by itself."""
    params, (batch, _) = one_case.params, one_case.batches
    whole = optax.multi_transform({"all": one_case.shared}, jax.tree.map(lambda _: "all", params))
    close(descend(whole, params, one_case.batches)[0], one_case.updates)
    first = jax.tree.leaves(params)[0]
    labels = jax.tree.map(lambda leaf: "held" if leaf is first else "moved", params)
    groups = optax.multi_transform({"held": optax.set_to_zero(), "moved": one_case.optimizer}, labels)
    if one_case.name == "adam":
        found, expected = one(groups.update, groups.init(params), params, batch)[0], one_case.updates[0]
        close(jax.tree.leaves(found)[1:], jax.tree.leaves(expected)[1:])
        assert not jax.tree.leaves(found)[0].any()
        return
    refused(("is masked", "couples all parameters", "leaving it out of the tree"), groups.init, params)


def conditional(wrapper, params, batches, state=None):
    """As :func:`descend`, for wrappers that branch.

    Traced, so that both branches must agree in all types; then run branch by branch, with what is compiled already.
    """
    state = wrapper.init(params) if state is None else state
    alike(jax.eval_shape(lambda state: one(wrapper.update, state, params, batches[0]), state), (params, state))
    with jax.disable_jit():
        return descend(wrapper, params, batches, state)


def in_several_steps(one_case):
    """Two batches of the same walkers are one update."""
    steps = optax.MultiSteps(one_case.shared, 2, accumulator_dtype=jnp.float64)
    twice = [batch for batch in one_case.batches for _ in range(2)]
    updates, state = conditional(steps, one_case.params, twice)
    close(updates[1::2], one_case.updates)
    assert not any(leaf.any() for update in updates[::2] for leaf in jax.tree.leaves(update))
    close(state.inner_opt_state, one_case.state)


def if_finite(one_case):
    guarded = optax.apply_if_finite(one_case.shared, 3)
    updates, state = conditional(guarded, one_case.params, one_case.batches)
    close(updates, one_case.updates)
    broken = one_case.batches[0]
    broken = broken._replace(grads=jax.tree.map(lambda leaf: leaf * jnp.nan, broken.grads))
    (update,), following = conditional(guarded, one_case.params, [broken], state)
    assert not any(leaf.any() for leaf in jax.tree.leaves(update))
    close(following.inner_state, state.inner_state, rtol=0.0)


TABLE = {
    "jit": jitted,
    "vmap": vmapped,
    "scan": scanned,
    "donated": donated,
    "stored": stored,
    "chain": chained,
    "named_chain": chained_by_name,
    "masked": masked,
    "multi_transform": in_groups,
    "MultiSteps": in_several_steps,
    "apply_if_finite": if_finite,
}


@pytest.mark.parametrize("name", TRANSFORMED)
@pytest.mark.parametrize("cell", TABLE)
def test_the_same_updates_or_one_line(cell, name):
    TABLE[cell](case(name))


def test_the_layered_optimisers_that_are_left_out_keep_nothing_of_their_own():
    entries = {
        name: {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(ready(name).state)}
        for name in LAYERED
    }
    assert entries["kfac"] <= entries["qn-kfac"] <= entries["qn-mr-kfac"]


def test_hyperparameters_are_injected_into_adam_only():
    """The others' regulators are checked when they are made; those that adapt are entries of the state."""
    one_case = case("adam")
    adam = optax.inject_hyperparams(lambda learning_rate: from_optax(optax.adam(learning_rate)))(learning_rate=1e-2)
    close(descend(adam, one_case.params, one_case.batches)[0], one_case.updates)
    injected = optax.inject_hyperparams(lambda damping: dgd(log_psi, damping=damping))(damping=1.0)
    refused(("damping = ", "must be a Python number", "float(...)"), injected.init, start())


# Fresh states.


@pytest.mark.parametrize("name", [*GENERIC, *LAYERED])
def test_no_two_entries_of_a_fresh_state_share_a_buffer(name):
    psi, params, _ = situation(name in LAYERED)
    optimizer = optimizer_of(name, psi)
    chain = initial_chain(jax.random.key(0), WALKERS, 2, "float64")
    distinct(TrainState(params, optimizer.init(params), chain, jnp.zeros((), jnp.int32)))
    distinct(jax.jit(optimizer.init)(params))


def test_an_epoch_takes_what_optax_makes_as_one_of_its_own():
    """Wrapped, it reports nothing and judges no step; a plain pair does not say so by itself."""
    psi, params, _ = situation(False)
    problem = MonteCarlo(psi, sweeps=2)
    wrapped = optax.chain(optax.clip_by_global_norm(1.0), ngd(problem))
    refused("a transformation of optax as it is: give from_optax(...) of it", training_epoch, problem, wrapped)
    optimizer = from_optax(wrapped)
    chain = initial_chain(jax.random.key(0), WALKERS, 2, "float64")
    state = TrainState(params, optimizer.init(params), chain, jnp.zeros((), jnp.int32))
    following, metrics = jax.eval_shape(training_epoch(problem, optimizer), state, jax.random.key(0), SYSTEM)
    alike(following, state)
    assert "rho" not in metrics


def test_a_donated_epoch_is_the_same():
    psi, params, _ = situation(False)
    problem = MonteCarlo(psi, sweeps=2)
    optimizer = minsr(problem)
    epoch = jax.jit(training_epoch(problem, optimizer))
    donated_epoch = jax.jit(training_epoch(problem, optimizer), donate_argnums=0)
    chain = initial_chain(jax.random.key(0), WALKERS, 2, "float64")
    kept = given = TrainState(params, optimizer.init(params), chain, jnp.zeros((), jnp.int32))
    given = jax.tree.map(jnp.copy, kept)
    for number in range(2):
        key = jax.random.key(number)
        (kept, expected), (given, metrics) = epoch(kept, key, SYSTEM), donated_epoch(given, key, SYSTEM)
        close((given, metrics), (kept, expected), rtol=1e-12)


# The parameters' tree.


@pytest.mark.parametrize("name", ["ngd", "dgd", "proximal-dgd"])
def test_names_of_the_parameters_do_not_matter(name):
    """z, y, x, as they are given in the table above, against a, b, c; there also what is not compiled."""
    names = {"z": "a", "y": "b", "x": "c"}

    def renamed(tree):
        return {names[old]: tree[old] for old in names}

    def other_log_psi(params, x):
        return log_psi({old: params[new] for old, new in names.items()}, x)

    one_case = case(name)
    optimizer = optimizer_of(name, other_log_psi)
    compiled = Optimizer(optimizer.init, jax.jit(optimizer.update))
    batches = [batch._replace(grads=renamed(batch.grads)) for batch in one_case.batches]
    updates, _ = descend(compiled, renamed(start()), batches)
    close(updates, [renamed(update) for update in one_case.updates])


@pytest.mark.parametrize("name", ["ngd", "proximal-dgd"])
def test_children_without_arrays_make_no_block(name):
    def other_log_psi(params, x):
        return log_psi(params["own"], x)

    optimizer = optimizer_of(name, other_log_psi)
    state = optimizer.init({"a": {}, "b": None, "own": start()})
    assert [leaf.dtype for leaf in state.previous] == ["float64"]


BAD_PARAMS = {
    "none": ({}, "there are no parameters"),
    "empty": ({"a": {}, "b": None}, "there are no parameters"),
    "complex": ({"a": 1.0, "b": 1.0 + 1.0j}, ("['b'] is complex", "real and imaginary part as two leaves")),
    "integer": ({"a": np.arange(3)}, ("['a'] is int64", "must be float32 or float64")),
    "half": ({"a": np.zeros(3, np.float16)}, ("['a'] is float16", "must be float32 or float64")),
    "bfloat16": ({"a": np.zeros(3, jnp.bfloat16)}, ("['a'] is bfloat16", "must be float32 or float64")),
    "boolean": ({"a": np.zeros(3, bool)}, ("['a'] is bool", "must be float32 or float64")),
    "mixed": (
        {"a": np.zeros(3, np.float32), "b": np.zeros(3)},
        ("of several types, float32, float64", "make them one"),
    ),
}


@pytest.mark.parametrize("bad", BAD_PARAMS)
@pytest.mark.parametrize("name", SECOND_ORDER)
def test_parameters_are_refused_by_init_and_update(name, bad):
    optimizer = optimizer_of(name, situation(name in LAYERED)[0])
    params, told = BAD_PARAMS[bad]
    params = jax.tree.map(jnp.asarray, params)
    refused(told, optimizer.init, params)
    batch = ready(name).batches[0]
    refused(told, one, optimizer.update, ready(name).state, params, batch._replace(grads=params))


def test_adam_takes_complex_parameters():
    adam, params = optimizer_of("adam", None), {"a": jnp.asarray([1.0 + 1.0j])}
    updates, _ = adam.update(params, adam.init(params), params)
    assert updates["a"].dtype == "complex128"


BAD_GRADS = {
    "missing": (lambda grads: {"z": grads["z"], "y": grads["y"]}, "grads has no leaf ['x']"),
    "further": (lambda grads: {**grads, "w": grads["z"]}, "grads has a further leaf ['w']"),
    "nothing": (lambda grads: None, "grads has no leaf ['x']"),
    "array": (lambda grads: grads["x"], "grads has no leaf ['x']"),
    "shape": (
        lambda grads: {**grads, "x": grads["x"][None]},
        "grads['x'] is float64 of shape (1,), its parameter float",
    ),
    "type": (lambda grads: {**grads, "z": grads["z"].astype("float32")}, "grads['z'] is float32 of shape ()"),
}


@pytest.mark.parametrize("bad", BAD_GRADS)
@pytest.mark.parametrize("name", GENERIC[1:])
def test_gradients_are_like_the_parameters(name, bad):
    spoil, told = BAD_GRADS[bad]
    params, batch = ready(name).params, ready(name).batches[0]
    spoiled = batch._replace(grads=spoil(batch.grads))
    refused((told, "as jax.grad returns it"), one, ready(name).optimizer.update, ready(name).state, params, spoiled)


def test_gradients_are_in_the_parameters_containers():
    def of_list(params, x):
        return log_psi({"z": params[0], "y": {"w": params[1]}, "x": params[2]}, x)

    optimizer, leaves = ngd(of_list), [start()["z"], start()["y"]["w"], start()["x"]]
    batch = ready("ngd").batches[0]._replace(grads=tuple(leaves))
    refused("a tree of other containers", one, optimizer.update, optimizer.init(leaves), leaves, batch)


# The batch.


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_what_an_update_lacks(name):
    optimizer, state, params, batch = (
        ready(name).optimizer,
        ready(name).state,
        ready(name).params,
        ready(name).batches[0],
    )
    whole = extra(batch)
    refused("needs the parameters", optimizer.update, batch.grads, state, **whole)
    refused("needs walkers and local_energies by keyword", optimizer.update, batch.grads, state, params)
    refused("needs walkers by", optimizer.update, batch.grads, state, params, local_energies=batch.local_energies)
    refused("needs local_energies by", optimizer.update, batch.grads, state, params, walkers=batch.walkers)


def test_a_wrapper_that_drops_the_batch_says_so():
    """MultiSteps as a plain pair, in a chain, passes nothing on but the gradient."""
    plain = optax.chain(optax.MultiSteps(ready("ngd").optimizer, 2).gradient_transformation())
    params, batch = ready("ngd").params, ready("ngd").batches[0]
    refused("needs walkers and local_energies by keyword", one, plain.update, plain.init(params), params, batch)


BAD_BATCHES = {
    "too few energies": (lambda batch: {"local_energies": batch.local_energies[:3]}, "shape (3,): must be (8,)"),
    "energies as a column": (lambda batch: {"local_energies": batch.local_energies[:, None]}, "shape (8, 1): must be"),
    "a mean": (lambda batch: {"local_energies": batch.local_energies.mean()}, "shape (): must be (8,)"),
    "energies of another type": (
        lambda batch: {"local_energies": batch.local_energies.astype("float32")},
        ("local_energies are float32: must be float64", "local_energies.astype(float64)"),
    ),
    "complex energies": (
        lambda batch: {"local_energies": batch.local_energies + 0j},
        "are complex128: must be float64",
    ),
    "walkers of another type": (
        lambda batch: {"walkers": batch.walkers.astype("float32")},
        ("walkers are float32 and the parameters float64", "walkers.astype(float64)"),
    ),
    "integer walkers": (lambda batch: {"walkers": batch.walkers.astype(int)}, "walkers are int64"),
    "no walkers": (
        lambda batch: {"walkers": batch.walkers[:0], "local_energies": batch.local_energies[:0]},
        "walkers of shape (0, 2): there must be at least one",
    ),
    "a number": (lambda batch: {"walkers": jnp.zeros(())}, "walkers of shape (): there must be at least one"),
}


@pytest.mark.parametrize("bad", BAD_BATCHES)
@pytest.mark.parametrize("name", SECOND_ORDER)
def test_batches_that_do_not_fit(name, bad):
    spoil, told = BAD_BATCHES[bad]
    batch = ready(name).batches[0]._replace(**spoil(ready(name).batches[0]))
    refused(told, one, ready(name).optimizer.update, ready(name).state, ready(name).params, batch)


@pytest.mark.parametrize("shape", [(WALKERS, 2), (WALKERS, 3, 1), (WALKERS,)])
@pytest.mark.parametrize("name", SECOND_ORDER)
def test_a_structured_state_knows_its_number_of_particles(name, shape):
    psi = slater_wavefunction(3, 1, 1, dtype="float64")
    params = jax.eval_shape(psi.init, jax.random.key(0))
    optimizer, batch = optimizer_of(name, psi), ready(name).batches[0]
    x = jnp.zeros(shape)

    def update(params):
        return optimizer.update(params, optimizer.init(params), params, walkers=x, local_energies=batch.local_energies)

    told = (f"each walker is of shape {shape[1:]}: must be (3,)", "particles = 3", "give walkers of shape (W, 3)")
    refused(told, jax.eval_shape, update, params)


def test_the_walk_asks_the_state_too():
    psi = slater_wavefunction(3, 1, 1, dtype="float64")
    params = psi.init(jax.random.key(0))
    chain = initial_chain(jax.random.key(0), WALKERS, 2, "float64")
    refused(
        "each walker is of shape (2,): must be (3,)", MonteCarlo(psi).draw, params, chain, jax.random.key(1), SYSTEM
    )


def test_walkers_without_a_number_are_data():
    one_case = case("minsr")
    batch = one_case.batches[0]._replace(walkers=one_case.batches[0].walkers.at[0].set(jnp.nan))
    updates, _ = one(one_case.shared.update, one_case.state, one_case.params, batch)
    assert np.isnan(optax.tree.norm(updates))


# ln|psi|.


BAD_LOG_PSI = {
    "complex": (lambda value: value + 0j, ("complex128 of shape ()", "its real part")),
    "vector": (lambda value: jnp.stack([value, value]), ("float64 of shape (2,): must be of shape ()", "a scalar")),
    "column": (lambda value: value[None], ("float64 of shape (1,): must be of shape ()", "a scalar")),
    "pair": (lambda value: (jnp.sign(value), value), ("is tuple", "return it alone")),
    "nothing": (lambda value: None, ("is NoneType", "return it alone")),
    "integer": (lambda value: value.astype(int), ("int64 of shape ()", "must be float32 or float64")),
    "half": (lambda value: value.astype("bfloat16"), ("bfloat16 of shape ()", "must be float32 or float64")),
    "single": (lambda value: value.astype("float32"), ("is float32", "that are float64")),
}


@pytest.mark.parametrize("bad", BAD_LOG_PSI)
@pytest.mark.parametrize("name", GENERIC[1:])
def test_ln_psi_is_one_real_number_a_walker(name, bad):
    """Found without evaluating anything: the callback would tell."""
    spoil, told = BAD_LOG_PSI[bad]
    evaluated: list[Any] = []

    def bad_log_psi(params, x):
        jax.debug.callback(evaluated.append, x)
        return spoil(log_psi(params, x))

    optimizer, batch = optimizer_of(name, bad_log_psi), ready(name).batches[0]
    refused(told, one, optimizer.update, optimizer.init(start()), start(), batch)
    jax.effects_barrier()
    assert not evaluated


def test_a_state_of_ones_own_gives_one_number_a_walker():
    class Own(NamedTuple):
        log_psi: Any
        laplacian_ratio: Any = None
        structure: Any = None

    optimizer = ngd(Own(lambda params, x: params["z"] * jnp.sum(x**2)))
    batch = ready("ngd").batches[0]
    told = ("ln|psi| of 8 walkers is float64 of shape (): must be of shape (8,)", "one number a walker")
    refused(told, one, optimizer.update, optimizer.init(start()), start(), batch)


# Walkers with more axes than two.


def in_plane(params, x):
    """The state above for one particle in two dimensions."""
    return log_psi(params, x.reshape(2))


def as_matrix(batch):
    return batch._replace(walkers=batch.walkers.reshape(WALKERS, 1, 2))


@pytest.mark.parametrize("name", GENERIC)
def test_steps_do_not_depend_on_the_axes_of_a_walker(name):
    one_case = case(name)
    optimizer = optimizer_of(name, in_plane)
    compiled = Optimizer(optimizer.init, jax.jit(optimizer.update))
    updates, state = descend(compiled, start(), [as_matrix(batch) for batch in one_case.batches])
    close(updates, one_case.updates, rtol=1e-10)
    close(state, one_case.state, rtol=1e-7)


def test_derivatives_in_the_positions_by_brute_force():
    """Two particles in three dimensions."""
    params = jnp.linspace(0.2, 0.7, 6)

    def state(params, x):
        distance = jnp.sqrt(jnp.sum((x[0] - x[1]) ** 2))
        return -jnp.vdot(params.reshape(2, 3), x**2) - params[0] / (1.0 + distance) + params[1] * x[0, 2] * x[1, 0]

    x = jax.random.normal(jax.random.key(3), (4, 2, 3))

    def brute(walker):
        def flat(y, theta=params):
            return state(theta, y.reshape(2, 3))

        y = walker.ravel()
        slope = jax.grad(flat)(y)
        mixed = jax.jacfwd(lambda theta: jax.grad(flat)(y, theta))(params)
        return jnp.trace(jax.hessian(flat)(y)) + slope @ slope, mixed

    laplacian, mixed = jax.jit(jax.vmap(brute))(x)
    psi = trial_state(state)
    np.testing.assert_allclose(jax.jit(psi.laplacian_ratio)(params, x), laplacian, rtol=1e-12)

    @jax.jit
    def diagonal(energies):
        batch = {"walkers": x, "local_energies": energies}
        return MonteCarlo(psi).geometry(params, ("decision",), batch).curvature("decision").diagonal(0)

    np.testing.assert_allclose(diagonal(laplacian), np.mean(np.sum(mixed**2, axis=1), axis=0), rtol=1e-12)


@pytest.mark.parametrize("sweeps", [2, "auto"])
def test_a_walk_does_not_depend_on_the_axes_of_a_walker(sweeps):
    length = jnp.asarray(10.0) if sweeps == "auto" else ()
    flat = Chain(ready("adam").batches[0].walkers, jnp.ones(()), length)
    start_of = {"flat": flat, "matrix": flat._replace(walkers=flat.walkers.reshape(WALKERS, 1, 2))}

    def density(x):
        return -jnp.sum(x.reshape(WALKERS, 2) ** 2 * jnp.asarray([0.5, 1.5]), axis=1)

    ends = {name: walk(density, chain, jax.random.key(4), sweeps) for name, chain in start_of.items()}
    close(ends["matrix"][0].walkers.reshape(WALKERS, 2), ends["flat"][0].walkers)
    close(ends["matrix"][0]._replace(walkers=()), ends["flat"][0]._replace(walkers=()))
    assert ends["matrix"][1] == ends["flat"][1]


def test_the_hamiltonian_is_that_of_particles_on_a_line():
    x = as_matrix(ready("adam").batches[0]).walkers
    told = ("walkers of shape (8, 1, 2): must be (W, A)", "give MonteCarlo another potential")
    refused(told, walker_energies, trial_state(in_plane), start(), x, SYSTEM, WALKERS)
