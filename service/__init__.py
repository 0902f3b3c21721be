"""The sampling service: gRPC server, store, job supervisor, and the worker processes that do the mathematics.

Only `gephyra.service.worker` imports torch or jax; the server process never does.
"""
