"""The mathematics: kernels, bridges, losses, training, estimators. Importing this package loads nothing."""
