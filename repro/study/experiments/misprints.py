"""What the lectures and the talks print wrongly, what is right, and the item that shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Misprint:
    """A statement or formula that does not hold as it is printed.

    Attributes:
        place: the document and the slide.
        printed: what stands there.
        right: what holds.
        item: of the lecture, whose figure shows it; where nothing can be computed, whose figure is about it.
        by_reading: whether nothing is computed: whoever reads the slide sees it.
    """

    place: str
    printed: str
    right: str
    item: str
    by_reading: bool = False


_FIRST, _SECOND, _MOMENTUM, _MODELS = "introduction", "lecture", "talk on momentum", "talk on statistical models"

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
    Misprint(
        f'{_MOMENTUM}, slides "Toy example" (all)',
        "L_u(v) = 1/2 ||u - v||, and the same with K",
        "1/2 ||u - v||^2: without the square the loss does not fall by 0.81 in a step",
        "M01",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Toy example: gradient descent is biased in functional space" and the next one',
        "G = B^T B",
        "G = B B^T, the inner products of the rows B_i of A = theta^T B Phi",
        "M02",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Toy example: gradient descent is biased in functional space" and the next one',
        "the integral of dA/dtheta_i [B^T B]_ij dA/dtheta_j",
        "the integral of dA/dtheta_i dA/dtheta_j: with the matrix between them the basis is counted twice",
        "M02",
    ),
    Misprint(
        f'{_MOMENTUM}, slides "Natural gradient", the last one',
        "dv/ds = -G P_T grad L of gradient descent",
        "-(J J^T) grad L with the Jacobian J of the model",
        "M02",
    ),
    Misprint(
        f'{_MOMENTUM}, slides "Toy example: non isotropic loss", "natural gradient descent with loss hessian"',
        "B^T K B",
        "B K B^T",
        "M05",
    ),
    Misprint(
        f'{_MOMENTUM}, slides "Natural gradient"',
        "the Hessian of ||u - v||^2 is delta(x, y)",
        "true of 1/2 ||u - v||^2; of the printed loss it is twice the Gram matrix",
        "M06",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Toy example: nonlinear manifold"',
        "second line: = theta^T B Phi",
        "the quadratic term is lost: (theta^T B + 1/2 theta^T Q theta) Phi, whose derivative is printed below it",
        "M07",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Toy example: nonlinear manifold"',
        "(B + Q_i theta)^T K (B + Q_i theta)",
        "R K R^T with the rows B_i + Q_i theta of R",
        "M07",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Momentum dynamics"',
        "theta_k+1 = theta_k + beta p_k, p_k = p_k-1 - alpha grad L",
        "theta_k + p_k, p_k = beta p_k-1 - alpha grad L: the printed one has no friction; a later slide has it right",
        "M08",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Momentum dynamics in functional space"',
        "Nesterov: w_k - alpha P_Tk grad L(w_k) with the tangent space of v_k",
        "the tangent space of w_k: as printed it does not arrive in M08",
        "M08",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Toy example: not L^2 loss"',
        "last gradient: P[beta grad L(v_k-1) - alpha grad L(v_k)]",
        "-beta grad L(v_k-1): as printed it goes uphill",
        "M09",
    ),
    Misprint(
        f'{_MOMENTUM}, slide "Why we need momentum"',
        "the natural gradient will be biased if L is not ||u - v||_K^2",
        "it may be: with K = 1 the loss of M09 depends on the distance alone, and its natural gradient is not biased",
        "M09",
    ),
    Misprint(
        f'{_MODELS}, slide "A Toy Example from Stochastic Relaxation"',
        "the gradient flow of a minimum: xi' = + grad F(xi)",
        "xi' = - grad F(xi)",
        "G02",
    ),
    Misprint(
        f'{_MODELS}, slide "Amari\'s Natural Gradient (1998) 2/2"',
        "Delta xi = lambda I^-1 grad F",
        "Delta xi = (1/lambda) I^-1 grad F, from the line above it, with lambda < 0 for a minimum",
        "G05",
    ),
    Misprint(
        f'{_MODELS}, slide "Amari\'s Natural Gradient (1998) 1/2"',
        "I(xi) = -E_xi[Hess log p_(xi + Delta xi)]",
        "-E_xi[Hess log p_xi]: on the rim of a ball of divergence 0.02 the printed one is off by a factor of about two",
        "G09",
    ),
    Misprint(
        f'{_MODELS}, slide "Vanilla vs Natural Gradient: eta"',
        "eta, the expectation parameters, beside pictures in mu",
        "mu, the marginal probabilities; eta = E[x] = 2 mu - 1",
        "G05",
    ),
    Misprint(
        f'{_MODELS}, slide "Dual Parameterization"',
        "eta_ii = s_ii - mu_i^2, eta_ij = 2 s_ij - 2 mu_i mu_j",
        "plus signs: E[T]; a later slide has E = Sigma + mu mu^T",
        "G10",
    ),
    Misprint(
        f'{_MODELS}, slide "Fisher Information Matrix in (mu; Sigma)"',
        "alpha = s^km s^ln if k = l or m = n",
        "1/2 (s^km)^2 where k = l and m = n and k is not m: the printed one is twice too large there",
        "G10",
    ),
    Misprint(
        f'{_MODELS}, slide "Fisher Information Matrix in theta"',
        "lambda in the case k = l or m = n",
        "R_km^2 where k = l and m = n and k is not m: the printed one is twice too large there",
        "G10",
    ),
    Misprint(
        f'{_MODELS}, slide "Fisher Information Matrix in theta"',
        "Lambda_klmn by a case distinction on k = l alone",
        "theta^T R E_kl R E_mn R theta; the printed matrix is not symmetric",
        "G10",
    ),
    Misprint(
        f'{_MODELS}, slide "Fisher Information Matrix in eta 1/2"',
        "second term of Gamma: P eta^T P eta",
        "(eta^T P eta) P; the printed product does not exist",
        "G10",
    ),
    Misprint(
        f'{_MODELS}, slide "Stochastic Natural Gradient Descent"',
        "for the Gaussian distribution in particular, the natural gradient is I_eta Cov(f, T)",
        "it is so for every exponential family; only the closed form of I_eta is Gaussian",
        "G10",
    ),
    Misprint(
        f'{_MODELS}, slides "Stochastic Relaxation in R^n"',
        "hypotheses on the model for (R) and (SR) to be equivalent",
        "(P) and (SR): the problem is called (P) above, and there is no (R)",
        "G16",
        by_reading=True,
    ),
    Misprint(
        f'{_MODELS}, slide "Euclidean vs Natural Gradient"',
        "the natural flow speeds up",
        "near a point mass it is slower in its own time: sigma falls as (6 t)^(-1/2), not as e^(-6 t)",
        "G13",
    ),
    Misprint(
        f'{_MODELS}, slide "The Fisher Matrix of a Helmholtz Machine"',
        "blocks E[sigma'(W h) h h^T], the largest of size l_0 x l_0",
        "with biases a 1 belongs to h, and the largest block, of the first recognition layer, has l_0 + 1 rows",
        "G19",
    ),
    Misprint(
        f'{_MODELS}, slide "Natural Reweighted Wake-Sleep", wake',
        "the mean over q(h | x) alone",
        "reweighted wake-sleep weighs each sample by p(x, h) / q(h | x), normalised over the K samples",
        "G21",
    ),
    Misprint(
        f'{_MODELS}, slide "Natural Reweighted Wake-Sleep", sleep',
        "the expectation over p(h | x)",
        "over p(x, h): in the sleep phase the machine dreams the picture too",
        "G21",
    ),
    Misprint(
        f'{_MODELS}, slides "Wake-Sleep Algorithm"',
        "losses -E[ln p] beside gradients +E[grad ln p]",
        "the gradient of the loss has a minus sign; the step that is meant goes uphill in ln p and ln q",
        "G21",
    ),
)
"""In the order of the documents."""
