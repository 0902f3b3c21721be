"""The demo's model: germination of seeds on 21 plates, a random-effects logistic regression in NumPyro.

Data: Crowder (1978), "Beta-binomial Anova for proportions"; model: the example "Seeds" of BUGS. Plates differ in
the type of seed and the root extract they were brushed with; tau is the precision of what else differs.
"""

import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

__all__ = ["REFERENCE_LOG_Z", "data", "seeds"]

REFERENCE_LOG_Z = -73.406
"""Within 0.002: a semi-analytic integral, importance sampling, and NUTS with bridge sampling agree on it."""

_GERMINATED = (10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3)
_SOWN = (39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7)
# Plates of each of the four combinations, seed type by extract.
_PLATES = (5, 6, 5, 5)


def data() -> dict[str, NDArray[np.float32]]:
    """The arguments of `seeds`, each (21,): seed type, root extract, seeds sown, seeds germinated."""
    return {
        "seed_type": np.repeat(np.array([0, 0, 1, 1], np.float32), _PLATES),
        "extract": np.repeat(np.array([0, 1, 0, 1], np.float32), _PLATES),
        "sown": np.array(_SOWN, np.float32),
        "germinated": np.array(_GERMINATED, np.float32),
    }


def seeds(seed_type: ArrayLike, extract: ArrayLike, sown: ArrayLike, germinated: ArrayLike) -> None:
    """26 unknowns: four coefficients, one effect a plate, and the effects' precision tau."""
    tau = numpyro.sample("tau", dist.Gamma(0.01, 0.01))
    a_0, a_1, a_2, a_12 = (numpyro.sample(name, dist.Normal(0.0, 10.0)) for name in ("a_0", "a_1", "a_2", "a_12"))
    with numpyro.plate("plates", 21):
        b = numpyro.sample("b", dist.Normal(0.0, tau**-0.5))
        logits: Array = a_0 + a_1 * seed_type + a_2 * extract + a_12 * seed_type * extract + b
        numpyro.sample("germinated", dist.Binomial(sown, logits=logits), obs=germinated)
