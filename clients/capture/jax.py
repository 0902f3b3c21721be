"""Capture of a JAX log density as StableHLO modules.

The density is traced once to a jaxpr, per point. The arrays that it closes over (data) become arguments of the
program and are sent once; as constants they would be repeated in each module. Value and score are then exported
together, batched, at three fixed batch sizes: a symbolic batch size fails on every Cholesky factor.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend import core
from numpy.typing import NDArray

from gephyra.protos.program_pb2 import Program, Site, StableHloModule, StableHloProgram
from gephyra.protos.tensor_pb2 import DType

from ..errors import CaptureError
from .record import Captured, Constants, assemble, check_dim, check_original, check_points, dtype_number

__all__ = ["JaxDensity", "capture", "float_name", "from_jax", "trace_refusal"]

_BATCHES = (16, 256, 2048)
_PLATFORMS = ("cpu", "cuda")

_PointFunction = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class JaxDensity:
    """A density and the map to its sites, both functions of one unconstrained point `(dim,)`."""

    dim: int
    log_density: _PointFunction
    source: str
    constrain: Callable[[Any], Mapping[str, Any]] | None = None
    """Gives every site under its name."""
    site_names: tuple[str, ...] = ()
    """The order of the sites."""
    deterministic: frozenset[str] = frozenset()


def from_jax(log_density: Callable[[Any], Any], dim: int) -> Captured:
    """Capture `log_density`, a JAX function of one point `(dim,)` that returns the scalar log density.

    Arrays that it closes over become data of the program. Computed in float32, or in float64 where
    `jax_enable_x64` is on. Raises CaptureError for what cannot be captured, with the reason.
    """
    if not callable(log_density):
        raise CaptureError(f"log_density must be a function of one point, got {type(log_density).__name__}")
    return Captured(capture(JaxDensity(check_dim(dim), log_density, source=f"jax {jax.__version__}")))


def float_name() -> str:
    """The floating type JAX computes in now: float64 where `jax_enable_x64` is on, else float32."""
    return str(jnp.zeros(()).dtype)


def capture(density: JaxDensity) -> Program:
    """The program of a density: modules at every batch size, data, sites, check points by the original."""
    dtype = float_name()
    constants = Constants()
    lifted = _lift(_scalar(density.log_density, density.dim, dtype), density.dim, dtype, constants)
    sites, constrain = _lift_sites(density, dtype, constants)
    x = check_points(density.dim, dtype)
    log_density, score = _original(density.log_density, x)
    program = assemble(x, log_density, score, sites=sites, arrays=constants.arrays, source=density.source)
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in constants.arrays]

    def value_and_score(point: Any, *data: Any) -> Any:
        return jax.value_and_grad(lambda at: lifted(at, data)[0])(point)

    def sites_of(point: Any, *data: Any) -> Any:
        assert constrain is not None
        return constrain(point, data)

    program.stablehlo.CopyFrom(
        StableHloProgram(
            density=_modules(value_and_score, density.dim, dtype, shapes),
            constrain=_modules(sites_of, density.dim, dtype, shapes) if constrain else (),
        )
    )
    return program


def trace_refusal(error: Exception) -> CaptureError | None:
    """The sentence for an error of JAX's tracer, None for an error of another kind."""
    if isinstance(error, jax.errors.NonConcreteBooleanIndexError):
        return CaptureError(
            "the density selects elements with a boolean mask that depends on the point, so its shapes depend on "
            "the point; write jnp.where(mask, a, b) in place of a[mask]"
        )
    if isinstance(error, jax.errors.ConcretizationTypeError):
        return CaptureError(
            "the density branches on, or converts to a Python number or a shape, a value that depends on the point; "
            "write jnp.where or jax.lax.cond in place of `if`, and keep shapes fixed. "
            f"JAX says: {str(error).splitlines()[0]}"
        )
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return CaptureError(
            "the density hands a value that depends on the point to numpy; use jax.numpy in place of numpy there"
        )
    return None


def _scalar(log_density: _PointFunction, dim: int, dtype: str) -> _PointFunction:
    def checked(point: Any) -> Any:
        value = log_density(point)
        shape, kind = jnp.shape(value), jnp.result_type(value)
        if shape != () or not jnp.issubdtype(kind, jnp.floating):
            raise CaptureError(
                f"log_density must return a real scalar for one point of shape ({dim},), got shape {shape} of type "
                f"{kind}; sum over the data, and do not write a batch dimension: gephyra adds it"
            )
        return (jnp.asarray(value, dtype),)

    return checked


def _lift(
    function: Callable[[Any], Sequence[Any]], dim: int, dtype: str, constants: Constants
) -> Callable[[Any, Sequence[Any]], Any]:
    """`function` with the arrays it closes over as a second argument; they are added to `constants`."""
    try:
        closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((dim,), dtype))
    except Exception as error:
        raise trace_refusal(error) or error from error
    places: dict[int, int] = {}
    _collect(closed, constants, places)

    def lifted(point: Any, arrays: Sequence[Any]) -> Any:
        return _evaluate(closed, [point], places, arrays)

    return lifted


def _collect(closed: Any, constants: Constants, places: dict[int, int]) -> None:
    """Note for every constant array of a jaxpr, and of the jitted functions it calls, its place among the data."""
    for value in closed.consts:
        extended = jnp.issubdtype(value.dtype, jax.dtypes.extended)  # keys of random generators
        if np.ndim(value) > 0 and not extended and dtype_number(value.dtype) is not None:
            places[id(value)] = constants.add(np.asarray(value))
    for inner in _jitted(closed.jaxpr):
        _collect(inner, constants, places)


def _jitted(jaxpr: Any) -> list[Any]:
    return [eqn.params["jaxpr"] for eqn in jaxpr.eqns if eqn.primitive.name in ("jit", "pjit")]


def _evaluate(closed: Any, points: Sequence[Any], places: Mapping[int, int], arrays: Sequence[Any]) -> list[Any]:
    """Run a jaxpr with lifted constants. A jitted call that holds constants of its own is run in line."""
    values: dict[Any, Any] = {}
    consts = [arrays[places[id(value)]] if id(value) in places else value for value in closed.consts]
    values.update(zip(closed.jaxpr.constvars, consts, strict=True))
    values.update(zip(closed.jaxpr.invars, points, strict=True))
    for eqn in closed.jaxpr.eqns:
        inputs = [atom.val if isinstance(atom, core.Literal) else values[atom] for atom in eqn.invars]
        if eqn.primitive.name in ("jit", "pjit") and _has_constants(eqn.params["jaxpr"]):
            outputs = _evaluate(eqn.params["jaxpr"], inputs, places, arrays)
        else:
            with eqn.ctx.manager:
                outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [atom.val if isinstance(atom, core.Literal) else values[atom] for atom in closed.jaxpr.outvars]


def _has_constants(closed: Any) -> bool:
    return bool(closed.consts) or any(_has_constants(inner) for inner in _jitted(closed.jaxpr))


def _lift_sites(
    density: JaxDensity, dtype: str, constants: Constants
) -> tuple[list[Site], Callable[[Any, Sequence[Any]], Any] | None]:
    constrain = density.constrain
    if constrain is None:
        return [], None
    names = density.site_names

    def ordered(point: Any) -> tuple[Any, ...]:
        values = constrain(point)
        return tuple(jnp.asarray(values[name]) for name in names)

    lifted = _lift(ordered, density.dim, dtype, constants)
    shapes = jax.eval_shape(ordered, jax.ShapeDtypeStruct((density.dim,), dtype))
    return [
        _site(name, shape, name in density.deterministic) for name, shape in zip(names, shapes, strict=True)
    ], lifted


def _site(name: str, shape: Any, deterministic: bool) -> Site:
    number = dtype_number(shape.dtype)
    if number is None:
        raise CaptureError(f"site {name!r} has elements of type {shape.dtype}, which cannot be sent; make it real")
    return Site(name=name, shape=shape.shape, dtype=DType.ValueType(number), deterministic=deterministic)


def _original(log_density: _PointFunction, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Log density and score of the user's own function at points x, one at a time."""
    evaluate = jax.jit(jax.value_and_grad(lambda point: jnp.asarray(log_density(point), x.dtype)))
    try:
        results = [evaluate(point) for point in x]
    except (NotImplementedError, TypeError, ValueError) as error:
        raise CaptureError(
            "JAX cannot compute the gradient of the density; write it with functions of jax.numpy, without callbacks "
            f"to Python. JAX says: {str(error).splitlines()[0]}"
        ) from error
    values = np.array([value for value, _ in results], dtype=x.dtype)
    score = np.stack([np.asarray(gradient) for _, gradient in results]).astype(x.dtype)
    check_original(values, score)
    return values, score


def _modules(function: Callable[..., Any], dim: int, dtype: str, arrays: Sequence[Any]) -> list[StableHloModule]:
    """`function` of a point and the data, batched over points and exported at every batch size."""
    # Traced once for a point; each batch size then costs a walk over the jaxpr and no run of the model.
    traced = core.jaxpr_as_fun(jax.make_jaxpr(function)(jax.ShapeDtypeStruct((dim,), dtype), *arrays))

    def batched(points: Any, *data: Any) -> Any:
        return tuple(jax.vmap(lambda point: traced(point, *data))(points))

    modules = []
    for batch in _BATCHES:
        points = jax.ShapeDtypeStruct((batch, dim), dtype)
        try:
            with _without_locations():
                exported = export.export(jax.jit(batched), platforms=_PLATFORMS)(points, *arrays)
            modules.append(StableHloModule(batch=batch, serialized=bytes(exported.serialize())))
        except (NotImplementedError, ValueError) as error:
            raise CaptureError(
                "the density uses an operation that JAX cannot export, such as a callback to Python or a kernel of "
                f"your own; write it with jax.numpy. JAX says: {str(error).splitlines()[0]}"
            ) from error
    return modules


@contextmanager
def _without_locations() -> Iterator[None]:
    """Keep file names and line numbers of the user out of the modules: the same model always gives the same bytes."""
    settings = {"jax_include_full_tracebacks_in_locations": True, "jax_traceback_in_locations_limit": 0}
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
