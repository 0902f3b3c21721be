"""Data sets: send one, and what is known of it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from gephyra.protos import dataset_service_pb2

from ..channel import Connection
from ..dataset_facts import DatasetFacts
from ..errors import GephyraError, NotFound
from ..progress import transfer_display
from ..request import fill, full_name, new_request_id
from ..resume import Patience
from ..upload import upload_blob

__all__ = ["AsyncDataset", "explained", "sent", "upload"]

# Generous: the server reads the data whole before it answers.
_CREATE_SECONDS = 300.0
# Another data set may take the blob in between: twice in a row would be strange.
_SENDINGS = 2


class AsyncDataset(DatasetFacts):
    """A table of numbers on the server."""

    def __init__(self, connection: Connection, message: dataset_service_pb2.Dataset) -> None:
        self._connection = connection
        self._message = message

    @property
    def message(self) -> dataset_service_pb2.Dataset:
        """The server's record, as it came last."""
        return self._message

    async def refresh(self) -> Self:
        """Read the record again, with the facts of its columns."""
        request = dataset_service_pb2.GetDatasetRequest(name=self.name)
        self._message = await self._connection.unary(lambda stubs: stubs.datasets.GetDataset, request)
        return self

    async def delete(self) -> None:
        """Remove the data set from the server, and its values unless another data set has the same."""
        request = dataset_service_pb2.DeleteDatasetRequest(name=self.name)
        await self._connection.unary(lambda stubs: stubs.datasets.DeleteDataset, request)


async def upload(
    connection: Connection, data: Any, name: str | None, columns: Sequence[str] | None, display_name: str | None,
    progress: bool,
) -> AsyncDataset:  # fmt: skip
    """See `AsyncClient.upload`."""
    # Here, because importing the client must be quick and numpy takes half of the time.
    from ..tables import prepare

    prepared = await asyncio.to_thread(prepare, data, columns)
    request, content = prepared.request, prepared.content
    shown = prepared.display_name if display_name is None else display_name
    fill(request, dataset_id=(name or "").removeprefix("datasets/"), display_name=shown, request_id=new_request_id())
    patience, sendings = Patience(connection.patience), 0
    while True:
        try:
            return await _created(connection, request)
        except NotFound as error:
            if error.reason != "BLOB_NOT_FOUND" or sendings == _SENDINGS:
                raise
        except GephyraError as error:
            # If nobody is there at all, that is told at once.
            if not sendings:
                raise
            await patience.wait(error, sendings)
            continue
        with transfer_display(shown or "upload", content.size, enabled=progress) as told:
            await upload_blob(connection, content, resume=True, told=told)
        sendings += 1


async def explained(connection: Connection, target: str, error: NotFound) -> NotFound:
    """The refusal of a job; where a data set has the name of the target that is missing, how to train on that."""
    name = target.removeprefix("targets/")
    if error.reason != "TARGET_NOT_FOUND" or not target:
        return error
    try:
        request = dataset_service_pb2.GetDatasetRequest(name=f"datasets/{name}")
        await connection.unary(lambda stubs: stubs.datasets.GetDataset, request)
    except GephyraError:
        return error
    sentence = (
        f"there is no target {target}, but a data set of that name; to model it: "
        f'client.train("{name}", method="denoising"), or gephyra train --dataset {name}'
    )
    return NotFound(
        sentence, reason=error.reason, metadata=error.metadata, violations=error.violations, request_id=error.request_id
    )


async def _created(connection: Connection, request: dataset_service_pb2.CreateDatasetRequest) -> AsyncDataset:
    message = await connection.unary(lambda stubs: stubs.datasets.CreateDataset, request, _CREATE_SECONDS)
    return AsyncDataset(connection, message)


async def sent(connection: Connection, data: Any) -> str | None:
    """The name of a data set, which may be a handle or a name already; anything else is sent first. None for None."""
    if data is None:
        return None
    if isinstance(data, str | AsyncDataset):
        return full_name("datasets", data)
    return (await upload(connection, data, None, None, None, True)).name
