"""What the lectures on optimisation print wrongly, what is right, and the item that shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Misprint:
    """A statement or formula that does not hold as it is printed.

    Attributes:
        place: the document and the slide.
        printed: what stands there.
        right: what holds.
        item: of the lecture, whose figure shows it.
    """

    place: str
    printed: str
    right: str
    item: str


_FIRST, _SECOND = "introduction", "lecture"

MISPRINTS = (
    Misprint(
        f'{_FIRST}, slide "Taylor approximation in Jax"',
        "(theta - a)**2 in the second-order term",
        "(theta - theta_0)**2: there is no a; the four numbers below the code are right",
        "P01",
    ),
    Misprint(
        f'{_FIRST}, slides "Preconditioning"',
        "f(theta) = 5/2 theta_1 + 2/2 theta_2",
        "f(theta) = 5/2 theta_1^2 + 2/2 theta_2^2, whose Hessian is the one that is printed",
        "P12",
    ),
    Misprint(
        f'{_FIRST}, slides "Preconditioning"',
        "-H^-1 grad f(theta) = (0, 0)",
        "theta - H^-1 grad f(theta) = (0, 0); the step -H^-1 grad f(theta) is (-0.5, -0.5)",
        "P12",
    ),
    Misprint(
        f'{_FIRST}, slide "Natural gradient"',
        "invariant with respect to all differentiable and invertible transformations",
        "the flow is invariant; steps of a length h are so up to an error that is proportional to h",
        "P16",
    ),
    Misprint(
        f'{_FIRST}, slide "From Adam\'s original paper"',
        "v is an approximation to the diagonal of the Fisher information matrix",
        "v is the mean square of minibatch gradients: g^2 + (empirical Fisher - g^2) / batch size at frozen parameters",
        "P19",
    ),
    Misprint(
        f'{_FIRST}, slide "Adam and the natural gradient descent"',
        "the square root does not change the direction of the descent, only the step size",
        "the square root is taken of each component, and that changes the direction",
        "P19",
    ),
    Misprint(
        f'{_SECOND}, slides "Computation: GD on the Taylor approximation", "Hessian-Free Optimization"',
        "1/2 v^T C v^T",
        "1/2 v^T C v",
        "Q07",
    ),
    Misprint(
        f'{_SECOND}, slides "Pullback Sampling Trick"',
        "a JVP (i.e. backprop)",
        "a VJP: backpropagation multiplies the transposed Jacobian by a vector",
        "Q08",
    ),
    Misprint(
        f'{_SECOND}, slide "K-FAC: Compact Representation"',
        "3 x (1000^2 + 1000^2) = 6 million",
        "6.006 million: the factor of the inputs has a row and a column for the bias",
        "Q08",
    ),
)
"""In the order of the documents."""
