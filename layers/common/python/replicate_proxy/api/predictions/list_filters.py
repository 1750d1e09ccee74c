"""The filters of the caller's list of predictions. An invalid one is a 400 ApiError that names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from replicate_proxy.api.query_parameters import parse_time_parameter
from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from replicate_proxy.errors import parameter_error
from replicate_proxy.ids import is_id
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.metadata import (
    MAX_PAIRS,
    NAME_RULE,
    VALUE_RULE,
    is_metadata_name,
    is_metadata_value,
)

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request
    from replicate_proxy.jobs.model import JobStatus

_METADATA = "metadata."
FILTER_PARAMETERS = ("status", "model", "batch", f"{_METADATA}{{name}}", "created_after", "created_before")
_STATUSES = tuple(dict.fromkeys(PREDICTION_STATUS.values()))
_MODEL = re.compile(r"[\x21-\x7e]{1,300}", re.ASCII)


def parse_list_filter(request: Request) -> JobFilter:
    """Return the filter that the query describes; empty parameters count as missing."""
    return JobFilter(
        statuses=_parse_statuses(request),
        model=_parse_model(request),
        batch_id=_parse_batch(request),
        metadata=_parse_metadata(request),
        created_after=parse_time_parameter(request, "created_after"),
        created_before=parse_time_parameter(request, "created_before"),
    )


def _parse_statuses(request: Request) -> frozenset[JobStatus]:
    """Return the statuses of jobs for those of predictions, a list with commas."""
    names = [name for name in request.query.get("status", "").split(",") if name]
    if any(name not in _STATUSES for name in names):
        raise parameter_error("status", f"must be some of {', '.join(_STATUSES)}, with commas")
    return frozenset(status for status, name in PREDICTION_STATUS.items() if name in names)


def _parse_model(request: Request) -> str | None:
    model = request.query.get("model") or None
    if model is not None and not _MODEL.fullmatch(model):
        raise parameter_error("model", "must be the name of a model, like owner/name")
    return model


def _parse_batch(request: Request) -> str | None:
    batch_id = request.query.get("batch") or None
    if batch_id is not None and not is_id(batch_id):
        raise parameter_error("batch", "must be the ID of a batch")
    return batch_id


def _parse_metadata(request: Request) -> dict[str, str]:
    """Return the pairs of the parameters `metadata.<name>`."""
    pairs = {
        parameter.removeprefix(_METADATA): value
        for parameter, value in request.query.items()
        if parameter.startswith(_METADATA)
    }
    if len(pairs) > MAX_PAIRS:
        raise parameter_error(_METADATA, f"must be at most {MAX_PAIRS} parameters")
    for name, value in pairs.items():
        if not is_metadata_name(name):
            raise parameter_error(f"{_METADATA}{name}", f"its name {NAME_RULE}")
        if not is_metadata_value(value):
            raise parameter_error(f"{_METADATA}{name}", VALUE_RULE)
    return pairs
