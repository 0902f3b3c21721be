"""What every loader does first with bytes from a stranger: refuse the formats that can carry code.

A pickle runs code while it is read, and a zip archive (`.pt2`, TorchScript, `.npz`) holds pickles. They are told
by their first bytes, so that the refusal can say what came in place of a program.
"""

__all__ = ["ProgramError", "refuse_foreign_bytes"]

_PICKLE_MARK, _NEWEST_PICKLE = 0x80, 5
_MAGIC = (
    (b"PK\x03\x04", "a zip archive (.pt2, TorchScript and .npz files are such)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip stream"),
    (b"\x7fELF", "a shared library"),
    (b"\x89HDF", "an HDF5 file"),
)


class ProgramError(ValueError):
    """A captured program that cannot be accepted.

    Attributes:
        reason: Stable word, for example PROGRAM_OP_NOT_ALLOWED.
        message: What was expected, what came, what to do.
        field: Path inside the program, for example `stablehlo.density[0]`; empty where no field is to blame.
    """

    def __init__(self, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


def refuse_foreign_bytes(data: bytes, field: str) -> None:
    """Raise ProgramError (PROGRAM_FORMAT_REFUSED) for bytes that start like a pickle, an archive or a library."""
    found = next((name for magic, name in _MAGIC if data.startswith(magic)), None)
    # A flatbuffer may start with the same two bytes, but has zeros where a pickle has its first opcode.
    if len(data) > 2 and data[0] == _PICKLE_MARK and data[1] <= _NEWEST_PICKLE and data[2] != 0:
        found = "a pickle, which runs code when it is read"
    if found is not None:
        raise ProgramError(
            "PROGRAM_FORMAT_REFUSED",
            f"{field} holds {found}; expected a program captured by gephyra: "
            "use from_numpyro, from_jax, from_pyro or from_torch",
            field,
        )
