"""Taylor's approximation: the numbers of the slide, a plane and remainders, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repro.demonstrations.optimisation import taylor


def test_the_printed_numbers_are_those_of_the_closed_form():
    """x^2 + 10 sin x by hand: what the slide prints has eight digits or seven."""
    value, slope, curvature = 36.0 + 10.0 * math.sin(6.0), 12.0 + 10.0 * math.cos(6.0), 2.0 - 10.0 * math.sin(6.0)
    found = taylor.expansion(points=11)
    for (at, order, printed), (_, _, ours) in zip(taylor.PRINTED, found.printed, strict=True):
        d = at - 6.0
        assert ours == pytest.approx(value + slope * d + (order == 2) * curvature * d**2 / 2.0, abs=1e-12)
        assert ours == pytest.approx(printed, abs=5e-6)
    assert taylor.recovered() == pytest.approx([value, slope, curvature], abs=1e-4)
    assert found.values["curvature_at_6"] == pytest.approx(curvature, abs=1e-13)


def test_another_function_of_the_family_would_be_noticed(monkeypatch):
    """The two second-order numbers a thousandth higher: the coefficients are no longer whole."""
    changed = [(at, order, number + (order == 2) * 1e-3) for at, order, number in taylor.PRINTED]
    monkeypatch.setattr(taylor, "PRINTED", tuple(changed))
    assert max(taylor.expansion(points=3).values["distance_from_whole_numbers"]) > 1e-4


def test_an_expansion_touches_its_function_at_any_point():
    found = taylor.expansion(point=-2.0, extent=2.0, points=5)
    assert found.first[0] == found.second[0] == found.function[0] == pytest.approx(4.0 - 10.0 * math.sin(2.0))
    assert found.second[-1] - found.first[-1] == pytest.approx(0.5 * (2.0 + 10.0 * math.sin(2.0)) * 16.0)


def test_the_undefined_name_is_the_one_of_the_printed_line():
    assert taylor.undefined_names(taylor.PRINTED_LINE, taylor.PRINTED_NAMES) == {"a"}
    assert not taylor.undefined_names(taylor.PRINTED_LINE.replace("- a", "- theta_0"), taylor.PRINTED_NAMES)


def test_the_surface_leaves_its_plane_by_its_second_order_term():
    """The surface is a polynomial of second order: the gap is 1/2 d^T H d, without any rounding on this grid."""
    found = taylor.tangent_plane(extent=1.0, steps=4)
    dx, dy = np.meshgrid(found.x - 2.0, found.y + 1.0)
    assert np.array_equal(found.surface - found.plane, 2.0 * dx**2 - 3.0 * dx * dy + 8.0 * dy**2)
    assert found.values["plane"] == [13.0, -26.0, -18.0]


def test_remainders_follow_the_next_term():
    found = taylor.remainders(largest=0.01, halvings=3)
    d = found.distances
    assert found.next_terms[0] == pytest.approx(abs(2.0 - 10.0 * math.sin(6.0)) / 2.0 * d**2, rel=1e-12)
    assert found.next_terms[1] == pytest.approx(abs(10.0 * math.cos(6.0)) / 6.0 * d**3, rel=1e-12)
    assert found.first == pytest.approx(found.next_terms[0], rel=1e-2)
    assert found.second == pytest.approx(found.next_terms[1], rel=1e-2)
