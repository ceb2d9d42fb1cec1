"""Pictures of smooth curves, after the CURVES data of G. Hinton and R. Salakhutdinov, Science 313, 504 (2006).

Three points are drawn at random, and the quadratic curve through them is painted with a soft pen. The published file is
another one, drawn by a program that was not published: errors on these pictures cannot be compared with errors on it.
"""

from __future__ import annotations

import numpy as np

SIDE = 28
ACROSS, DOWN = (2.0, 26.0), (6.0, 22.0)
"""Where the points may lie, in pixels."""
PEN = 0.8
"""Width of the pen in pixels: ink exp(-d^2 / (2 PEN^2)) at the distance d from the curve."""
POSITIONS = 128
"""Along a curve."""
AT_ONCE = 50
"""Pictures, to bound the memory."""


def curves(count: int, seed: int) -> np.ndarray:
    """Pictures with ink between 0 and 1, shape ``(count, 28, 28)``, float32.

    The curve is the quadratic one c(t) with c(0), c(1/2) and c(1) the three points, from the left to the right.

    Args:
        count: how many.
        seed: of the points.
    """
    generator = np.random.RandomState(seed)
    x, y = (generator.uniform(*bounds, (count, 3)) for bounds in (ACROSS, DOWN))
    order = np.argsort(x, axis=1)
    points = np.stack([np.take_along_axis(of, order, axis=1) for of in (x, y)])
    t = np.linspace(0.0, 1.0, POSITIONS)
    through = np.stack([(2 * t - 1) * (t - 1), 4 * t * (1 - t), t * (2 * t - 1)])
    across, down = (points @ through).astype(np.float32)
    parts = [slice(begin, begin + AT_ONCE) for begin in range(0, count, AT_ONCE)]
    return np.concatenate([_painted(across[part], down[part]) for part in parts])


def _painted(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Pictures of curves through the positions ``(count, POSITIONS)``."""
    middles = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    horizontal, vertical = ((of[..., None] - middles) ** 2 for of in (across, down))
    distance = np.full((len(across), SIDE, SIDE), np.inf, np.float32)
    for position in range(POSITIONS):
        here = vertical[:, position, :, None] + horizontal[:, position, None, :]
        np.minimum(distance, here, out=distance)
    return np.exp(distance / np.float32(-2.0 * PEN**2))
