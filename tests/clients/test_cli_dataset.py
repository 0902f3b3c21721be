"""`gephyra dataset`: what it prints, what it sends, and how refusals end."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from typer.testing import CliRunner

from gephyra.clients.cli.app import app
from gephyra.protos import dataset_service_pb2 as pb
from gephyra.protos import tensor_pb2
from tests.clients.fake import FakeServer, refuse

COLUMNS = [
    pb.DatasetColumn(name="age", minimum=-1.5, maximum=9, distinct=40),
    pb.DatasetColumn(name="grade", minimum=1, maximum=5, distinct=5, tied=True, on_levels=True),
]
DATASET = pb.Dataset(
    name="datasets/people", display_name="people.csv", rows=40, columns=2, dtype=tensor_pb2.DTYPE_FLOAT64,
    size_bytes=640, column_facts=COLUMNS,
)  # fmt: skip


@pytest.fixture
def server(fake: FakeServer) -> FakeServer:
    """A server with one data set, whose content it knows."""
    fake.script |= {
        "CreateDataset": lambda request, context: DATASET,
        "GetDataset": lambda request, context: DATASET,
        "ListDatasets": lambda request, context: pb.ListDatasetsResponse(datasets=[DATASET]),
        "DeleteDataset": lambda request, context: Empty(),
    }
    return fake


@pytest.fixture
def csv(tmp_path: Path) -> str:
    (tmp_path / "people.csv").write_text("age,grade\n1,2\n3,4\n")
    return str(tmp_path / "people.csv")


def run(server: FakeServer, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["dataset", *arguments, "--server", server.address], env={"COLUMNS": "200"})


def test_each_command_prints_a_table_or_one_json_value(server: FakeServer, csv: str) -> None:
    commands: list[tuple[list[str], Any]] = [
        (["upload", csv, "--name", "people"], lambda out: (out["rows"], out["columns"]) == (40, 2)),
        (["list"], lambda out: out[0]["name"] == DATASET.name),
        (["show", "people"], lambda out: out["column_facts"][1]["tied"]),
        (["delete", "people"], lambda out: out["deleted"] == DATASET.name),
    ]
    for arguments, holds in commands:
        for_people = run(server, *arguments)
        assert for_people.exit_code == 0, for_people.output
        assert "people" in for_people.stdout
        for_programs = run(server, *arguments, "--json")
        assert holds(json.loads(for_programs.stdout)), for_programs.output


def test_upload_sends_names_and_the_files_name(server: FakeServer, csv: str) -> None:
    assert run(server, "upload", csv, "--name", "people", "--columns", "a,b").exit_code == 0
    ((_, create),) = server.calls
    assert (create.dataset_id, create.display_name, create.column_names) == ("people", "people.csv", ["a", "b"])
    assert create.WhichOneof("source") == "csv"


def test_show_says_what_each_column_is(server: FakeServer) -> None:
    out = run(server, "show", "people").stdout
    assert "grade (values repeat" in out
    assert "tied, on levels" in out
    assert "-1.5" in out


def test_a_refusal_is_a_sentence_with_the_place(server: FakeServer, csv: str, tmp_path: Path) -> None:
    sentence = "csv: row 1, column grade (line 3 of the file): expected a number, got 'x'"
    server.script["CreateDataset"] = lambda request, context: refuse(
        context, grpc.StatusCode.INVALID_ARGUMENT, sentence, "DATA_NOT_A_NUMBER", row="1"
    )
    result = run(server, "upload", csv)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    for wrong in ("missing.csv", "table.xlsx"):
        result = run(server, "upload", str(tmp_path / wrong))
        assert result.exit_code == 2
        assert wrong in result.stderr


def test_every_command_teaches_with_an_example() -> None:
    runner = CliRunner()
    for command in ["upload", "list", "show", "delete"]:
        assert f"Example: gephyra dataset {command}" in runner.invoke(app, ["dataset", command, "--help"]).stdout
    assert "Upload, list, show and delete data sets" in runner.invoke(app, ["dataset", "--help"]).stdout
