"""Rows in files, and what is said where a name or a file stands for something else."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner

from gephyra.clients import errors
from gephyra.clients.cli.app import app
from gephyra.clients.cli.tabular import read_rows
from gephyra.clients.sync import Client
from gephyra.clients.tensors import from_tensor, to_tensor
from gephyra.protos import dataset_service_pb2, program_pb2, sampler_service_pb2
from tests.clients.fake import FakeServer, refuse

NAMES = ("height", "weight")
FILES: dict[str, str] = {
    "plain.csv": "1,2\n3,4\n",
    "headed.csv": "height,weight\n1,2\n3,4\n",
    "quoted.csv": '\ufeff"weight", "height" ,"age"\n2,1,9\n4,3,9\n',
    "parted.tsv": "weight\theight\n2\t1\n4\t3\n",
}


@pytest.mark.parametrize("name", FILES)
def test_columns_go_by_their_headings(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    np.testing.assert_array_equal(read_rows(tmp_path / name, NAMES), [[1, 2], [3, 4]])


def test_an_array_goes_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.0, 2.0]))
    np.testing.assert_array_equal(read_rows(tmp_path / "x.npy", NAMES), [[1, 2]])


@pytest.mark.parametrize(
    ("name", "text", "tells"),
    [
        ("x.txt", "1,2\n", "expected a .npy, .csv or .tsv file, got 'x.txt'"),
        ("x.csv", "size,weight\n1,2\n", "expected the columns height, weight, .* has size, weight"),
        ("x.csv", "1,2\n3,b\n", "holds no rows of numbers"),
        ("x.npy", "no array", "holds no rows of numbers"),
    ],
)
def test_what_is_no_table_of_these_columns_is_refused(tmp_path: Path, name: str, text: str, tells: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.InvalidArgument, match=tells) as caught:
        read_rows(tmp_path / name, NAMES)
    assert (caught.value.reason, caught.value.field) == ("DATA_FORMAT_REFUSED", "rows")


@pytest.fixture
def server(fake: FakeServer) -> FakeServer:
    """A server with a model whose log density is the sum of a row, and with a data set."""
    sites = [program_pb2.Site(name=name) for name in NAMES]
    sampler = sampler_service_pb2.Sampler(name="samplers/people-model", dataset="datasets/people", sites=sites, dim=2)

    def log_prob(request: Any, context: Any) -> sampler_service_pb2.EvaluateLogProbResponse:
        return sampler_service_pb2.EvaluateLogProbResponse(log_prob=to_tensor(from_tensor(request.x, "x").sum(1), "x"))

    def no_target(request: Any, context: Any) -> Any:
        refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no target {request.target}", "TARGET_NOT_FOUND")

    def dataset(request: Any, context: Any) -> dataset_service_pb2.Dataset:
        if request.name != "datasets/people":
            refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no data set {request.name}", "DATASET_NOT_FOUND")
        return dataset_service_pb2.Dataset(name=request.name)

    fake.script |= {
        "GetSampler": lambda request, context: sampler,
        "EvaluateLogProb": log_prob,
        "CreateTrainingJob": no_target,
        "GetDataset": dataset,
    }
    return fake


def test_the_command_line_prints_a_log_density_a_row(server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(FILES["headed.csv"])

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["log-prob", "people-model", *arguments, "--server", server.address])

    assert run(str(file)).stdout == "3.000000\n7.000000\n"
    assert '"log_prob": [3.0, 7.0]' in run(str(file), "--json").stdout
    assert run(str(tmp_path / "nothing.csv")).exit_code == 2


def test_the_name_of_a_data_set_in_place_of_a_target_is_explained(server: FakeServer, client: Client) -> None:
    with pytest.raises(
        errors.NotFound, match=r'client.train\("people", method="denoising"\).*--dataset people'
    ) as caught:
        client.train("people")
    assert caught.value.reason == "TARGET_NOT_FOUND"
    with pytest.raises(errors.NotFound, match=r"^there is no target targets/nobody \[TARGET_NOT_FOUND\]$"):
        client.train("nobody")
    # Here it is the target of the score that is missing.
    with pytest.raises(errors.NotFound, match=r"^there is no target  \[TARGET_NOT_FOUND\]$"):
        client.train("datasets/people", score_of="people")
    result = CliRunner().invoke(app, ["train", "people", "--server", server.address])
    assert result.exit_code == 3
    assert "gephyra train --dataset people" in " ".join(result.stderr.split())


@pytest.mark.parametrize("data", ["held-out.csv", Path("held-out.csv"), "folder/x.npy"], ids=repr)
def test_a_file_is_no_data_set(server: FakeServer, client: Client, data: Any) -> None:
    sampler = client.sampler("people-model")
    with pytest.raises(errors.InvalidArgument, match=r"is a file: upload it") as caught:
        sampler.nll(data)
    assert (caught.value.reason, caught.value.field) == ("DATA_FORMAT_REFUSED", "data")
    assert server.count("EstimateLikelihood") == 0
