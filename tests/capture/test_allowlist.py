"""The lists of what a program may contain: they hold what models need, and nothing that is not there to compute."""

import hashlib
import subprocess
import sys

import torch

from gephyra.targets.allowlist import ATEN, CUSTOM_CALLS, STABLEHLO_OPS, digest


def test_the_lists_need_no_framework() -> None:
    code = "import sys, gephyra.targets.allowlist; assert not {'torch', 'jax', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_digest_does_not_depend_on_order() -> None:
    expected = hashlib.sha256(b"aten.add.Tensor\naten.mul.Tensor").hexdigest()
    assert digest(["aten.mul.Tensor", "aten.add.Tensor"]) == digest(["aten.add.Tensor", "aten.mul.Tensor"]) == expected


def test_custom_calls_are_linear_algebra_only() -> None:
    prefixes = (
        "lapack_",
        "cusolver_",
        "cublas_",
        "cusparse_gtsv2_ffi",
        "cu_lu_pivots_to_permutation",
        "shape_assertion",
    )
    assert {"lapack_spotrf_ffi", "lapack_zhetrd_ffi", "lapack_cungqr_ffi", "cusolver_syevd_ffi"} <= CUSTOM_CALLS
    assert all(name.startswith(prefixes) for name in CUSTOM_CALLS)
    assert not {"lapack_ssyevd", "xla_python_cpu_callback", "tpu_custom_call", "mosaic_gpu_v2"} & CUSTOM_CALLS


def test_custom_calls_are_all_stable_in_jax() -> None:
    from jax._src.export import _export

    assert CUSTOM_CALLS <= _export._CUSTOM_CALL_TARGETS_GUARANTEED_STABLE
    lapack = {name for name in _export._CPU_FFI_KERNELS if name.startswith("lapack_")}
    assert lapack <= CUSTOM_CALLS


def test_no_operation_reaches_outside() -> None:
    outside = ["infeed", "outfeed", "send", "recv", "all_reduce", "rng", "rng_bit_generator", "replica_id"]
    assert not {f"stablehlo.{name}" for name in outside} & STABLEHLO_OPS


def test_aten_operators_exist_and_are_pure() -> None:
    impure = {
        torch.Tag.nondeterministic_seeded, torch.Tag.data_dependent_output, torch.Tag.inplace_view,
    }  # fmt: skip
    # An index may be a mask; a graph may not hold one, which the check of shapes sees to.
    by_position = {"aten.index.Tensor"}
    for name in ATEN:
        _, packet, overload = name.split(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload)
        assert not operator._schema.is_mutable, name
        assert not impure & set(operator.tags), name
        assert name in by_position or torch.Tag.dynamic_output_shape not in operator.tags, name
        assert not packet.startswith(("empty", "new_empty", "as_strided", "from_file", "set", "resize")), name
