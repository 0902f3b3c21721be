"""Denoising diffusion models of data: levels, losses, likelihoods, solvers, all in the log signal-to-noise ratio.

One coordinate, lambda = log(alpha^2 / sigma^2), called `log_snr`; noise has -infinity, data +infinity. Noised points

    y = sqrt(sigmoid(lambda)) x + sqrt(sigmoid(-lambda)) eps

are kept in the variance preserving scale everywhere. Another schedule is the same process rescaled, z = rho(lambda) y,
so it matters only to what a network is asked to predict (`prediction`), never to solvers and likelihoods.
"""
