"""From what `client.train` is given to the request: a sampler of a target, or a model of a data set."""

from collections.abc import Mapping
from typing import Any

from gephyra.protos import training_service_pb2

from .denoising import METHOD, denoising_config
from .errors import InvalidArgument, Violation
from .request import Named, full_name, new_request_id
from .words import METHODS, training_config

__all__ = ["job_request"]


def job_request(
    subject: Named | str, options: Mapping[str, Any], model: Mapping[str, Any]
) -> training_service_pb2.CreateTrainingJobRequest:
    """The request for a job.

    Args:
        subject: A target or a data set, or the name of one; an id alone is that of a data set for method denoising.
        options: What every kind of training may have, `method` among them.
        model: What only models of data have.

    Raises InvalidArgument, naming the field, for what does not go together, and as the configs do.
    """
    method = options.get("method")
    name = full_name("datasets" if method == METHOD else "targets", subject)
    if name.startswith("datasets/"):
        if method not in (None, METHOD):
            raise _refused(
                "method",
                f"a data set is modelled by method {METHOD}, got {method!r}; {', '.join(METHODS)} are for targets",
            )
        rest = {key: value for key, value in options.items() if key != "method"}
        return training_service_pb2.CreateTrainingJobRequest(
            dataset=name, denoising=denoising_config({**rest, **model}), request_id=new_request_id()
        )
    if method == METHOD:
        raise _refused("method", f"method {METHOD} models a data set, and {name} is none; upload the data first")
    for key, value in model.items():
        if value is not None:
            raise _refused(key, f"{key} is an option of models of data (method {METHOD}), and {name} is a target")
    return training_service_pb2.CreateTrainingJobRequest(
        target=name, config=training_config(**options), request_id=new_request_id()
    )


def _refused(field: str, sentence: str) -> InvalidArgument:
    return InvalidArgument(sentence, reason="INCONSISTENT_SETTINGS", violations=[Violation(field, sentence)])
