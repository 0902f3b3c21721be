"""What leads from each version of the tables to the next: a file a version, `r0007_....py` makes version 7 of 6.

`upgrade` gets alembic's operations. It speaks of tables as they were at the time, so it names them by text and never
imports `schema`. alembic loads these files by their path, so they import from gephyra by full names.
"""
