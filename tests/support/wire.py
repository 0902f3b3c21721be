"""Messages and records that several tests of the service need."""

from typing import Any

import numpy as np

from gephyra.protos import program_pb2, target_service_pb2, tensor_pb2
from gephyra.samplers.report import EuboSource, Metrics, PolishReport, PreconditionReport, Report, Times
from gephyra.service.tensors import to_tensor

METRICS = Metrics("train", 3, 1.5, 0.5, float("nan"), -1.0, float("-inf"), 0.25, 10.0, 12, 0)
REPORT = Report(
    -1.0, 0.1, -0.9, 0.2, 0.5, float("nan"), 16, 2**63, 1, 99, Times(1.0, 2.0, 3.0, 4.0),
    PreconditionReport("annealed", -2.0, "zero", -1.1, 0.3, 0.4, 0.6, 3, 2, 0.01), ("a warning",),
    eubo=-0.5, eubo_se=0.1, log_z_low=-1.2, log_z_high=-0.5, interval_holds=True, k_hat_limit=0.7,
    eubo_source=EuboSource.POLISHED,
    eubo_paths=8, log_z_forward=-0.8, log_z_forward_se=0.3,
    polish=PolishReport(64, 10, 0.5, None, 0.6, 0.1, 0.2, 0.05), modes_seen=3, modes_drawn=2,
)  # fmt: skip


def square_program(dim: int = 2, **parts: Any) -> target_service_pb2.TargetDefinition:
    """A program of log density -sum x^2 with right check points for it; `parts` replace fields."""
    x = np.random.Generator(np.random.Philox(1)).standard_normal((16, min(max(dim, 1), 2)))
    points = program_pb2.CheckPoints(x=to_tensor(x), log_density=to_tensor(-(x**2).sum(1)), score=to_tensor(-2 * x))
    ref = program_pb2.AtenValue(ref=0)
    axes = program_pb2.AtenValue(list=program_pb2.AtenList(values=[program_pb2.AtenValue(int_value=0)]))
    # Arrays are inputs too; nothing is made of them.
    first = 1 + len(parts.get("arrays", ()))
    graph = program_pb2.AtenGraph(
        inputs=first,
        nodes=[
            program_pb2.AtenNode(op="aten.mul.Tensor", args=[ref, ref]),
            program_pb2.AtenNode(op="aten.sum.dim_IntList", args=[program_pb2.AtenValue(ref=first), axes]),
            program_pb2.AtenNode(op="aten.neg.default", args=[program_pb2.AtenValue(ref=first + 1)]),
        ],
        outputs=[program_pb2.AtenValue(ref=first + 2)],
    )
    fields = {
        "dim": dim,
        "dtype": tensor_pb2.DTYPE_FLOAT64,
        "check_points": points,
        "aten": program_pb2.AtenProgram(density=graph),
        **parts,
    }
    return target_service_pb2.TargetDefinition(program=program_pb2.Program(**fields))
