"""Densities known up to a constant: what we know of them, how to load a captured one, how to check it.

`base` has the interface, one file a family the catalogue, `program` the record of a captured density.
Importing this package loads nothing: torch comes with `base`, jax only inside the loader of JAX programs.
"""
