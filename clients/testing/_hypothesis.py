"""What hypothesis runs when it is imported (entry point group `hypothesis`). Must stay cheap: no torch, no grpc."""

__all__ = ["register"]


def register() -> None:
    """Let `st.from_type` and `st.builds` know the test kit's plain records."""
    from hypothesis import strategies as st

    from .maps import AffineMap

    def affine_maps(_: type[AffineMap]) -> "st.SearchStrategy[AffineMap]":
        from .strategies import affine_maps

        return affine_maps()

    st.register_type_strategy(AffineMap, affine_maps)
