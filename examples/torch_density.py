"""A density as a torch function, with data: evidence of a logistic regression.

Run it: `python examples/torch_density.py`.
The function takes one point, (dim,), and returns a scalar: the log of the density, up to a constant. What it reads
from outside, here the tables X and Y, travels with it.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

import gephyra as gp

_noise = torch.Generator().manual_seed(0)
X = torch.randn(100, 4, generator=_noise)
Y = (X @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + torch.randn(100, generator=_noise) > 0).float()


def log_density(w: Tensor) -> Tensor:
    """Prior w ~ N(0, 1) without its constant, likelihood Bernoulli(sigmoid(X w))."""
    logits = X @ w
    return (Y * logits - softplus(logits)).sum() - 0.5 * (w * w).sum()


def main(folder: str = "runs", seconds: float = 20) -> None:
    """Train for `seconds`, in an embedded server that keeps everything in `folder`."""
    with gp.Client.local(folder) as client:
        target = client.register(gp.from_torch(log_density, 4), name="logistic-torch")
        sampler = client.train(target, seconds=seconds).result()
        print(sampler.evidence())
        draws = sampler.draw(4000, seed=1)
        print("posterior mean", draws.weights @ draws.x)


if __name__ == "__main__":
    main()
