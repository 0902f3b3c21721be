"""Look for modes, fit each, and let tempered particles check: the families `annealed` and `auto`.

1. Landscape: climbs from many places find the maxima (landscape.py).
2. Each starts a Gaussian; what is left of them, one a mode, is a mixture (local.py).
3. Particles are tempered from that mixture, widened, to the target (tempering.py). Climbs from them look for modes
   that the landscape missed: if there are any, step 2 is done again.
4. A mixture that fits badly grows where particles of the target show that it lacks mass (boost.py), as long as that
   brings it much nearer. Modes are seldom Gaussian; a funnel takes dozens of components. What the target holds beyond
   the mixture's ends, where no particle gets, is estimated for the report (ends.py).

Candidates are compared by the sum of both Kullback-Leibler divergences, E_target[log gamma - log q] - E_q[log gamma -
log q]: log Z drops out, mass that q lacks makes the first term large (on particles that were not used for fitting),
mass that it has in excess the second.

`auto` leaves steps 3 and 4 out where importance weights say that the mixture fits already. It looks for modes in the
same places as `annealed` otherwise.
"""

from collections.abc import Callable

import torch

from gephyra.targets.base import Target

from ..components import MOST_COMPONENTS, Components, Mixture
from .baseline import Baseline, measure
from .boost import boosted
from .curvature import Peak
from .ends import mass_beyond
from .found import FULL_DIM, MATRIX_DIM, Found, Spent, share
from .gaussian import best_diagonal, gaussian_from
from .landscape import Landscape
from .local import PEAK, Fitted, Starts, fit_modes, origin
from .newton import newton_fit_mixture
from .tempering import Tempered, temper

__all__ = ["annealed", "auto"]

_LANDSCAPE_SHARE, _LOCAL_SHARE, _TEMPER_SHARE, _GROWTH_SHARE = 0.35, 0.6, 0.8, 0.8
_WIDENED = 1.5
_CHECKING_CLIMBS = 128
# Above this effective sample size, and below this k-hat, there is nothing to gain from particles.
_FITS_ESS, _FITS_K_HAT, _EQUAL_ESS = 0.5, 0.7, 0.99
# A Gaussian this many nats from the target, both divergences together, is near enough for any bridge; less in few
# dimensions, where a mixture is cheap. It makes every step of a bridge dearer, and has to be much nearer to pay.
_NEAR, _NEAR_A_COORDINATE, _GAIN = 1.25, 0.04, 0.85
# So near, a mixture need not grow any more. Particles start from the mixture: what it lacks, they see a part of.
_VERY_NEAR = 0.02
# Components that a mixture grows by, and has at most: a number, or that many coordinates of all its means.
_GROWTH, _MOST, _MOST_COORDINATES = 8, MOST_COMPONENTS, 1700


def annealed(target: Target, seed: int, spent: Spent) -> Found:
    """Modes, particles, mixtures.

    Raises:
        ValueError: If the log density is finite nowhere that was looked at.
    """
    return _search(target, seed, spent, lambda components: False)


def auto(target: Target, seed: int, spent: Spent) -> Found:
    """The same, without particles where the fit is good already.

    Raises:
        ValueError: If the log density is finite nowhere that was looked at.
    """
    return _search(target, seed, spent, lambda components: _fits(target, components, seed))


def _search(target: Target, seed: int, spent: Spent, content: Callable[[Components], bool]) -> Found:
    if target.dim > FULL_DIM:
        return _many_dimensions(target, seed, spent)
    landscape, fitted = _modes(target, seed, spent)
    return _found(fitted) if content(fitted.components) else _checked(target, landscape, fitted, seed, spent)


def _modes(target: Target, seed: int, spent: Spent) -> tuple[Landscape, Fitted]:
    landscape = Landscape(target, seed, share(spent, _LANDSCAPE_SHARE))
    landscape.explore()
    return landscape, fit_modes(target, _starts(target, landscape.modes()), seed, share(spent, _LOCAL_SHARE))


def _starts(target: Target, peaks: list[Peak]) -> Starts:
    zero = origin(target.dim)
    means, trils = [peak.point for peak in peaks], [peak.tril for peak in peaks]
    return Starts(
        torch.stack([zero.mean[0], *means]), torch.stack([zero.tril[0], *trils]), (*zero.name, *[PEAK] * len(peaks))
    )


def _found(fitted: Fitted) -> Found:
    return Found(fitted.components, fitted.start, len(fitted.components.mean))


def _fits(target: Target, components: Components, seed: int) -> bool:
    estimates = measure(target, components, "fits", seed).estimates
    if estimates is None:
        return False
    # Of weights that are all but equal the largest may still have a tail, which does not matter.
    settled = not estimates.k_hat > _FITS_K_HAT or estimates.ess_fraction > _EQUAL_ESS
    return estimates.ess_fraction > _FITS_ESS and settled


def _checked(target: Target, landscape: Landscape, fitted: Fitted, seed: int, spent: Spent) -> Found:
    clock = share(spent, _TEMPER_SHARE)
    particles = temper(target, fitted.components.widened(_WIDENED), seed, clock)
    if particles is None:
        return _found(fitted)
    if landscape.climb_from(particles.point[:_CHECKING_CLIMBS]):
        fitted = fit_modes(target, _starts(target, landscape.modes()), seed, share(spent, 1.0))
    return _refined(target, _found(fitted), particles, seed, spent)


def _refined(target: Target, found: Found, particles: Tempered, seed: int, spent: Spent) -> Found:
    """The mixture grown, the components of its modes first, as long as that brings it much nearer to the target."""
    most = max(_GROWTH, min(_MOST, _MOST_COORDINATES // target.dim))
    near, turn, growing = min(_NEAR, _NEAR_A_COORDINATE * target.dim), 0, share(spent, _GROWTH_SHARE)
    baseline = measure(target, found.components, "divergence", seed)
    while (size := len(found.components.mean)) < most:
        # Half of the particles say where mass is lacking, the others judge.
        leading, judging = particles.halves()
        far = _divergence(found.components, baseline, judging)
        if far < near or growing() >= 1.0:
            break
        start = boosted(found.components, leading, min(most - size, _GROWTH - size % _GROWTH))
        mixture = newton_fit_mixture(target, start, seed, growing)
        grown = measure(target, mixture, "divergence", seed)
        if not _divergence(mixture, grown, judging) < (1.0 if turn else _GAIN) * far:
            break
        found, baseline = Found(mixture, "particles", found.modes), grown
        near, turn = min(near, _VERY_NEAR), turn + 1
        following = temper(target, mixture.widened(_WIDENED), seed, growing, turn=turn)
        if following is None:
            break
        particles = following
    return found._replace(beyond=_beyond(target, found.components, baseline, seed, spent))


def _divergence(components: Components, baseline: Baseline, held: Tempered) -> float:
    """Both Kullback-Leibler divergences between mixture and target, added, in nats."""
    return float((held.log_density - Mixture(components).log_density(held.point)).mean()) - baseline.elbo


def _beyond(target: Target, components: Components, baseline: Baseline, seed: int, spent: Spent) -> float:
    """What the mixture lacks beyond its ends; a Gaussian alone has none."""
    if len(components.mean) == 1 or baseline.estimates is None:
        return 0.0
    return mass_beyond(target, components, baseline.estimates.log_z, seed, spent)


def _many_dimensions(target: Target, seed: int, spent: Spent) -> Found:
    if target.dim > MATRIX_DIM:
        return best_diagonal(target, seed, spent)
    landscape = Landscape(target, seed, share(spent, _LANDSCAPE_SHARE))
    landscape.explore()
    peaks = landscape.modes()
    if len(peaks) < 2:
        return gaussian_from(target, _starts(target, peaks), seed, spent)._replace(modes=len(peaks))
    # Full factors would take too much memory; the precisions' diagonals give the best diagonal Gaussians.
    scale = [torch.linalg.inv(peak.tril).square().sum(0).rsqrt() for peak in peaks]
    equal = torch.zeros(len(peaks), dtype=torch.float64)
    mixture = Components(equal, torch.stack([peak.point for peak in peaks]), torch.stack(scale))
    elbos = [measure(target, mixture.chosen(torch.tensor([index])), "modes", seed).elbo for index in range(len(peaks))]
    mixture = mixture._replace(log_weight=torch.tensor(elbos, dtype=torch.float64).log_softmax(0))
    return Found(mixture, PEAK, len(peaks))
