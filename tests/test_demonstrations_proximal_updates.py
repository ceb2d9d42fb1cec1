"""Proximal updates: where the minima must be."""

from __future__ import annotations

import pytest

from repro.demonstrations.optimisation.proximal_updates import updates


@pytest.fixture(scope="module")
def held():
    """Both distances so strong that hardly anything moves."""
    return updates(function_strength=1e4, weight_strength=1e4, hidden=3)


def test_strong_distances_hold_everything_but_as_far_as_the_gradient_pulls(held):
    """For a step that is small, the weights move by the gradient over lambda: WSD alone has length |g| / lambda."""
    assert held.values["change_of_weights"]["weights"] < 1e-2
    assert held.values["change_of_weights"]["both"] <= held.values["change_of_weights"]["weights"]
    assert held.values["share_of_the_new_point"]["both"] < 1e-3
    twice = updates(function_strength=1e4, weight_strength=2e4, hidden=3)
    ratio = twice.values["change_of_weights"]["weights"] / held.values["change_of_weights"]["weights"]
    assert ratio == pytest.approx(0.5, rel=5e-3)


def test_the_simplified_objective_has_the_natural_gradient_for_its_minimum(held):
    assert held.values["natural_gradient_difference"] < 1e-6
