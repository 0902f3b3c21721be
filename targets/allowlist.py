"""What a captured program may contain. Constants only: the API process reads them and imports no framework.

A program is data from a stranger. A loader resolves no name that is not here: every entry computes numbers from
numbers, and none touches files, devices, processes, other programs or random generators.
"""

from collections.abc import Iterable
from hashlib import sha256

__all__ = ["ATEN", "CUSTOM_CALLS", "STABLEHLO_OPS", "digest"]


def digest(names: Iterable[str]) -> str:
    """SHA-256, in hex, of the names in sorted order joined by newlines: two sides compare lists by it."""
    return sha256("\n".join(sorted(names)).encode()).hexdigest()


def _prefixed(prefix: str, words: str) -> frozenset[str]:
    return frozenset(prefix + word for word in words.split())


# Left out on purpose: outside communication (infeed, outfeed, send, recv, collectives), random number
# generation, and the dynamic-shape operations, which fixed batch sizes never need.
_STABLEHLO = _prefixed(
    "stablehlo.",
    """
    abs add and atan2 bitcast_convert broadcast broadcast_in_dim case cbrt ceil cholesky clamp compare complex
    composite concatenate constant convert convolution cosine count_leading_zeros custom_call divide dot_general
    dynamic_slice dynamic_update_slice einsum exponential exponential_minus_one fft floor gather
    get_dimension_size get_tuple_element if imag iota is_finite log log_plus_one logistic map maximum minimum multiply
    negate not optimization_barrier or pad popcnt power real reduce reduce_precision reduce_window remainder reshape
    return reverse round_nearest_afz round_nearest_even rsqrt scatter select select_and_scatter shift_left
    shift_right_arithmetic shift_right_logical sign sine slice sort sqrt subtract tan tanh transpose
    triangular_solve tuple while xor
    """,
)
_CHLO = _prefixed(
    "chlo.",
    """
    acos acosh asin asinh atan atanh bessel_i1e broadcast_add broadcast_compare broadcast_divide
    broadcast_maximum broadcast_minimum broadcast_multiply broadcast_power broadcast_select broadcast_subtract
    conj constant constant_like cosh digamma erf erf_inv erfc is_inf is_neg_inf is_pos_inf lgamma next_after
    polygamma ragged_dot sinh square tan top_k zeta
    """,
)
STABLEHLO_OPS: frozenset[str] = (
    _STABLEHLO | _CHLO | frozenset({"builtin.module", "func.func", "func.call", "func.return"})
)
"""Operations of the StableHLO, CHLO and func dialects that a module may use."""


def _lapack() -> frozenset[str]:
    routines = ["potrf", "geqrf", "syevd", "geev", "gesdd", "getrf", "sytrd", "gehrd", "gees", "trsm", "gtsv"]
    renamed = {"syevd": "heevd", "sytrd": "hetrd"}  # complex matrices: Hermitian where real ones are symmetric
    real = {f"lapack_{kind}{routine}_ffi" for kind in "sd" for routine in [*routines, "orgqr"]}
    hermitian = [renamed.get(routine, routine) for routine in routines]
    complex_ = {f"lapack_{kind}{routine}_ffi" for kind in "cz" for routine in [*hermitian, "ungqr"]}
    return frozenset(real | complex_)


CUSTOM_CALLS: frozenset[str] = _lapack() | {
    "cu_lu_pivots_to_permutation", "cusolver_geqrf_ffi", "cusolver_gesvd_ffi", "cusolver_gesvdj_ffi",
    "cusolver_getrf_ffi", "cusolver_orgqr_ffi", "cusolver_potrf_ffi", "cusolver_syevd_ffi", "cusolver_sytrd_ffi",
    "cusparse_gtsv2_ffi", "shape_assertion",
}  # fmt: skip
"""Targets of `stablehlo.custom_call` that a module may name: linear algebra on the CPU and on NVIDIA devices."""

# Left out on purpose: random numbers, fresh memory (empty), raw strides and reinterpreted bits, files and devices,
# mutation, results whose shape depends on values. Entry: an operator, then its overloads; none means "default".
_OVERLOADS = """
    abs; acos; acosh; add Tensor Scalar; addbmm; addcdiv; addcmul; addmm; addmv; addr; all default dim dims; amax;
    amin; any default dim dims; arange default start start_step; argmax; argmin; argsort default stable; asin; asinh;
    atan; atan2; atanh; baddbmm; bitwise_and Tensor Scalar; bitwise_not; bitwise_or Tensor Scalar; bitwise_xor Tensor
    Scalar; block_diag; bmm; broadcast_to; bucketize Tensor; cat; ceil; celu; cholesky; cholesky_inverse;
    cholesky_solve; clamp default Tensor; clamp_max default Tensor; clamp_min default Tensor; clone;
    constant_pad_nd; contiguous; copysign Tensor Scalar; cos; cosh; cross; cummax; cummin; cumprod; cumsum;
    detach; diag; diag_embed; diagonal;
    diagonal_copy; diagonal_scatter; diff; digamma; div Tensor Scalar Tensor_mode Scalar_mode; dot; elu; eq Tensor
    Scalar; erf; erfc; erfinv; exp; exp2; expand; expand_as; expm1; eye default m; fill Scalar Tensor; flip; floor;
    floor_divide default Scalar; fmax; fmin; fmod Tensor Scalar; frac; full; full_like; gather; ge Tensor Scalar; gelu;
    gt Tensor Scalar; hardtanh; heaviside; hypot; i0; igamma; igammac; index Tensor; index_add; index_copy; index_fill
    int_Scalar int_Tensor; index_put; index_select; inverse; isclose; isfinite; isin Tensor_Tensor; isinf; isnan;
    kron; ldexp Tensor; le Tensor Scalar; leaky_relu; lerp Tensor Scalar; lgamma; linalg_cholesky_ex; linalg_cross;
    linalg_det; linalg_eigh; linalg_eigvalsh; linalg_householder_product; linalg_inv_ex; linalg_lu_factor_ex;
    linalg_lu_solve; linalg_matrix_exp; linalg_qr; linalg_slogdet; linalg_solve_triangular; linalg_vector_norm;
    linspace; log; log10; log1p; log2; log_sigmoid; log_sigmoid_forward; logaddexp; logaddexp2; logcumsumexp;
    logical_and; logical_not; logical_or; logical_xor; logit; logsumexp; lt Tensor Scalar; lu_unpack; masked_fill
    Scalar Tensor; matmul; matrix_exp; max default dim other; maximum; mean default dim; median default dim; min
    default dim other; minimum; mm; mul Tensor Scalar; mv; mvlgamma; nan_to_num; nanmean; nansum; narrow; ne Tensor
    Scalar; neg; new_full; new_ones; new_zeros; norm Scalar ScalarOpt_dim; ones; ones_like; outer; permute; polygamma;
    pow Tensor_Scalar Tensor_Tensor Scalar; prod default dim_int; real; reciprocal; relu; remainder Tensor Scalar
    Scalar_Tensor; repeat; repeat_interleave self_int; reshape; roll; round default decimals; rsqrt; rsub Tensor
    Scalar; scalar_tensor; scatter src value; scatter_add; scatter_reduce two; searchsorted Tensor; select int;
    select_scatter; sgn; sigmoid; sign; signbit; silu; sin; sinc; sinh; slice Tensor; slice_scatter; softplus; sort
    default stable; special_entr; special_erfcx; special_i0e; special_i1; special_i1e; special_log_ndtr; special_ndtri;
    special_xlog1py default other_scalar self_scalar; special_zeta default other_scalar self_scalar; split Tensor;
    split_with_sizes; sqrt; square; squeeze default dim dims; stack; std correction dim; sub Tensor Scalar; sum default
    dim_IntList; t; take; tan; tanh; threshold; topk; trace; transpose int; triangular_solve; tril; tril_indices;
    triu; triu_indices; trunc; unbind int; unflatten int; unfold; unsafe_split Tensor; unsqueeze; var correction dim;
    var_mean correction; view; view_as; where self Scalar ScalarOther ScalarSelf; xlogy Tensor Scalar_Self
    Scalar_Other; zeros; zeros_like; _cdist_forward; _euclidean_dist; _linalg_det; _linalg_eigh; _linalg_slogdet;
    _linalg_solve_ex; _log_softmax; _softmax; _stack; _to_copy; _unsafe_view
"""


def _aten(entries: str) -> frozenset[str]:
    names: set[str] = set()
    for entry in entries.split(";"):
        operator, *overloads = entry.split()
        names.update(f"aten.{operator}.{overload}" for overload in overloads or ["default"])
    return frozenset(names)


ATEN: frozenset[str] = _aten(_OVERLOADS)
"""Overloads of aten operators that a graph may call, as torch prints them: "aten.add.Tensor"."""
