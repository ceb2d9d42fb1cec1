"""How compiled epochs are run: on one device, on several, or for several runs in one program."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from repro.errors import InputError
from repro.numerics.batching import largest_divisor
from repro.numerics.sharding import WALKERS, all_gather, first_local_index
from repro.training.epoch import Chunk
from repro.training.state import PHASES, PRETRAINING, Metrics, TrainState

LEAST_WALKERS = 128
"""The fewest walkers on a device: with fewer, devices wait for each other most of the time."""


class Executor(Protocol):
    """Turns chunks of epochs into something that runs.

    Attributes:
        members: runs that share a program.
        devices: that share the walkers of a run.
    """

    members: int
    devices: int

    def compile(self, phase: str, chunk: Chunk, state: TrainState, seed: Array, coefficients: Any) -> Chunk:
        """The chunk, compiled for arguments like these; it may do fewer epochs than it is asked for.

        ``coefficients`` are those of the objective: the couplings of an energy.
        """


class SingleDevice:
    """One run, one program, one device."""

    members = devices = 1

    def compile(self, phase: str, chunk: Chunk, state: TrainState, seed: Array, coefficients: Any) -> Chunk:
        """The chunk as it is, compiled."""
        del phase
        return jax.jit(chunk).lower(state, seed, coefficients, jnp.zeros((), jnp.int32)).compile()  # type: ignore[return-value]


class Spread:
    """One run, its walkers shared out evenly to several devices, which run one program together.

    They draw the same random numbers as one device would, and sum in another order. The devices may be those of several
    processes, which then all make the same calls and all receive the whole state and all metrics.
    """

    members = 1

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.devices = len(devices)
        self.mesh = Mesh(np.array(devices), (WALKERS,), axis_types=(AxisType.Auto,))

    def compile(self, phase: str, chunk: Chunk, state: TrainState, seed: Array, coefficients: Any) -> Chunk:
        """The chunk, compiled for all devices."""
        del phase
        own = state.data.walkers.shape[0] // self.devices
        everywhere, each = PartitionSpec(), PartitionSpec(WALKERS)

        def part(state: TrainState, seed: Array, coefficients: Any, counts: Array) -> tuple[TrainState, Metrics]:
            mine = jax.lax.dynamic_slice_in_dim(state.data.walkers, first_local_index(own), own)
            state = state._replace(data=state.data._replace(walkers=mine))
            # Processes follow their own clocks; the least that one of them asks for is done by all.
            state, metrics = chunk(state, seed, coefficients, jax.lax.pmin(counts[0], WALKERS))
            state = state._replace(data=state.data._replace(walkers=all_gather(state.data.walkers)))
            # What is known of every walker has them on its last axis.
            return state, {
                name: all_gather(rows, axis=1) if rows.shape[1:] == (own,) else rows for name, rows in metrics.items()
            }

        # Replication of the outputs is not inferred: the loops' carried values would all have to be cast for it.
        inputs = (everywhere, everywhere, everywhere, each)
        spread = jax.shard_map(part, mesh=self.mesh, in_specs=inputs, out_specs=everywhere, check_vma=False)

        def placed(value: Any, spec: PartitionSpec) -> Array:
            place = NamedSharding(self.mesh, spec)
            if isinstance(value, Array) and value.sharding == place:
                return value
            return jax.make_array_from_callback(np.shape(value), place, np.asarray(value).__getitem__)

        def arguments(state: TrainState, seed: Array, coefficients: Any, count: Array) -> tuple[Any, ...]:
            same = jax.tree.map(lambda leaf: placed(leaf, everywhere), (state, seed, coefficients))
            return (*same, placed(np.full(self.devices, count), each))

        compiled = jax.jit(spread).lower(*arguments(state, seed, coefficients, jnp.zeros((), jnp.int32))).compile()
        return lambda *given: compiled(*arguments(*given))


def executor_for(walkers: int, device: jax.Device) -> Executor:
    """What runs a single run best: as many devices of one kind as share its walkers evenly and have enough to do.

    Processes that ``jax.distributed`` connects make one run together, on all devices of all of them.

    Raises:
        InputError: if the walkers cannot be shared out evenly to the devices of several processes.
    """
    if (processes := jax.process_count()) > 1:
        everyone = jax.devices(device.platform)
        if walkers % len(everyone):
            raise InputError(
                f"walkers = {walkers}: must be a multiple of {len(everyone)}, the devices of the {processes} processes"
            )
        return Spread(everyone)
    alike = jax.local_devices(backend=device.platform)
    count = largest_divisor(walkers, min(len(alike), max(1, walkers // LEAST_WALKERS)))
    return SingleDevice() if count == 1 else Spread(alike[:count])


def _axes(state: TrainState) -> TrainState:
    """Which leaves have an axis of members: all but the epochs, which are the same for all.

    Were they mapped, every decision that depends on them, such as whether to judge a step, would be one of the single
    members, and both of its branches would be computed in every epoch.
    """

    def axis(path: tuple[Any, ...], leaf: Any) -> int | None:
        del leaf
        return None if getattr(path[-1], "name", None) == "epoch" else 0

    return jax.tree_util.tree_map_with_path(axis, state)


def _by_leaf(function: Callable[..., Any], axes: TrainState, *states: TrainState) -> Any:
    """``function`` of the leaves with an axis of members; those that are the same for all, from the first state."""
    return jax.tree.map(
        lambda axis, *leaves: leaves[0] if axis is None else function(*leaves),
        axes,
        *states,
        is_leaf=lambda leaf: leaf is None,
    )


def mapped_chunk(chunk: Chunk, like: TrainState) -> Chunk:
    """A chunk for several states at once: state, seed, couplings and metrics have a leading axis of members.

    Args:
        chunk: of one state.
        like: a state of one member, for its structure.
    """
    axes = _axes(like)
    return jax.vmap(chunk, in_axes=(axes, 0, 0, None), out_axes=(axes, 0))


class _Request(NamedTuple):
    phase: str
    chunk: Chunk
    state: TrainState
    seed: Array
    coefficients: Any
    wanted: int

    @property
    def progress(self) -> tuple[int, int]:
        return PHASES.index(self.phase), int(self.state.epoch)

    @property
    def start(self) -> tuple[int, bytes]:
        """What tells members with different pretraining apart; walkers part as soon as parameters do."""
        return int(self.seed), np.asarray(self.state.data.walkers).tobytes()


def _stacked(requests: list[_Request]) -> tuple[TrainState, Array, Any]:
    """States, seeds and couplings with a leading axis of members."""
    state = _by_leaf(lambda *parts: np.stack(parts), _axes(requests[0].state), *(request.state for request in requests))
    seeds = jnp.stack([request.seed for request in requests])
    return state, seeds, jax.tree.map(lambda *parts: jnp.stack(parts), *(request.coefficients for request in requests))


class Batch:
    """Several runs in one program; each of them is a thread that believes itself alone.

    A chunk that a member asks for waits until all members have asked for one. Those that are furthest behind are then
    computed together, all others wait for them to catch up. A member that has ended leaves its place to a copy of
    another one, so that nothing is compiled again.

    Pretraining knows nothing of the couplings: members of one seed do it once, together.

    Attributes:
        computed: whether any epoch has been computed, so that there is something to keep.
    """

    devices = 1

    def __init__(self, members: int) -> None:
        self.members = members
        self.computed = False
        self._condition = threading.Condition()
        self._active = members
        self._programs: dict[tuple[str, int], Chunk] = {}
        self._requests: dict[int, _Request] = {}
        self._answers: dict[int, tuple[TrainState, Metrics]] = {}
        self._stopped: BaseException | None = None

    def stop(self, reason: BaseException) -> None:
        """Makes every member end with ``reason`` instead of computing further; from any thread, at any time."""
        self._stopped = reason

    def leave(self) -> None:
        """A member has ended, in whichever way."""
        with self._condition:
            self._active -= 1
            self._condition.notify_all()

    def compile(self, phase: str, chunk: Chunk, state: TrainState, seed: Array, coefficients: Any) -> Chunk:
        """A function that takes part in the common computation on behalf of the member that calls it.

        The program is compiled here, so that no epoch counts that as its time; but for pretraining, when it is known
        which members share it.
        """
        if phase != PRETRAINING:
            with self._condition:
                self._program([_Request(phase, chunk, state, seed, coefficients, 0)] * self.members)
        member = threading.get_ident()

        def take_part(state: TrainState, seed: Array, coefficients: Any, count: Array) -> tuple[TrainState, Metrics]:
            with self._condition:
                self._requests[member] = _Request(phase, chunk, state, seed, coefficients, int(count))
                while member not in self._answers and self._stopped is None:
                    if len(self._requests) < self._active:
                        self._condition.wait()
                    else:
                        # Always in a thread that asked: precision is a setting of the thread, and one that has left
                        # is no longer in that of the runs.
                        self._compute_or_stop()
                if member in self._answers:
                    return self._answers.pop(member)
                assert self._stopped is not None
                raise self._stopped

        return take_part

    def _compute_or_stop(self) -> None:
        try:
            self._compute()
        except BaseException as error:  # whatever it is, the others must not wait for ever
            self._stopped = error
        self._condition.notify_all()

    def _compute(self) -> None:
        behind = min(request.progress for request in self._requests.values())
        chosen = {member: request for member, request in self._requests.items() if request.progress == behind}
        places, computed = self._shared_out(chosen)
        count = jnp.asarray(min(request.wanted for request in chosen.values()), jnp.int32)
        following, metrics = jax.device_get(self._program(computed)(*_stacked(computed), count))
        self.computed = True
        axes = _axes(computed[0].state)
        for member, place in places.items():
            own = _by_leaf(lambda part, i=place: part[i], axes, following)  # type: ignore[misc]
            self._answers[member] = own, {name: values[place] for name, values in metrics.items()}
            del self._requests[member]

    def _shared_out(self, chosen: dict[int, _Request]) -> tuple[dict[int, int], list[_Request]]:
        """At which place each member finds its answer, and what is computed at all places."""
        requests = list(chosen.values())
        if requests[0].phase != PRETRAINING:
            padded = requests + [requests[0]] * (self.members - len(requests))
            return {member: place for place, member in enumerate(chosen)}, padded
        places: dict[int, int] = {}
        distinct: dict[tuple[int, bytes], tuple[int, _Request]] = {}
        for member, request in chosen.items():
            places[member], _ = distinct.setdefault(request.start, (len(distinct), request))
        return places, [request for _, request in distinct.values()]

    def _program(self, requests: list[_Request]) -> Chunk:
        """What computes as many requests of their phase at once, compiled for the first that ask for it."""
        first, size = requests[0], len(requests)
        if (first.phase, size) not in self._programs:
            mapped = jax.jit(mapped_chunk(first.chunk, first.state))
            compiled = mapped.lower(*_stacked(requests), jnp.zeros((), jnp.int32)).compile()
            self._programs[first.phase, size] = compiled  # type: ignore[assignment]
        return self._programs[first.phase, size]


def in_threads(batch: Batch, tasks: list[Callable[[], Any]]) -> list[Any]:
    """Runs one task for each member of a batch.

    Returns:
        What each returned, or the exception that it ended with.
    """
    ended: list[Any] = [None] * len(tasks)

    def work(index: int) -> None:
        try:
            ended[index] = tasks[index]()
        except BaseException as error:
            ended[index] = error
        finally:
            batch.leave()

    # Who interrupts them before the first epoch does not wait for hundreds of members to begin.
    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended
