"""The worker process: the only part of the service that imports torch or jax.

It reads commands from an inherited socket, does one at a time, and ends with the socket.
"""
