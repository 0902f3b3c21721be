"""Looks at a machine and a data folder before, or beside, a server: what would stop it, and what to do.

Each file has checks of one kind: functions from a `Setup` to findings. Nothing is changed but a file that is written
into the data folder and removed again.
"""
