"""The source tree as syntax: which files are ours, which functions and public names they hold. Runs nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("service", "samplers", "targets", "protos", "clients")
SHIPPED = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not path.stem.endswith(("_pb2", "_pb2_grpc"))
)
WRITTEN = [
    *SHIPPED,
    ROOT / "gephyra/__init__.py",
    *sorted(path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")),
]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path: Path) -> str:
    """The name under which a file of the five folders ships."""
    parts = ("gephyra", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(path: Path) -> Iterator[Function]:
    """Every function and method of a file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def code_lines(function: Function) -> int:
    """Lines from `def` to the end, without the docstring."""
    docstring = ast.get_docstring(function, clean=False)
    return (function.end_lineno or 0) - function.lineno + 1 - (len(docstring.split("\n")) if docstring else 0)


def public_names(path: Path) -> set[str]:
    """Classes, functions and variables that a file defines without a leading underscore.

    Type variables and loggers do not count: nobody imports them.
    """
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not _is_furniture(node):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def _is_furniture(node: ast.Assign | ast.AnnAssign) -> bool:
    made_by = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
    return made_by.rpartition(".")[2] in {"ParamSpec", "TypeVar", "getLogger"}


def imported_names(path: Path) -> set[str]:
    """Names that a file imports at its top level."""
    return {
        alias.asname or alias.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def declared_names(path: Path) -> list[str] | None:
    """The file's `__all__`, or None where it has none."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None
