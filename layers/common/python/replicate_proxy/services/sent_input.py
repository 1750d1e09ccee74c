"""The input of a job as it is sent to Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import DocumentStore


def load_sent_input(job: Job, documents: DocumentStore) -> Any:
    """Return the input with the names that what runs has for its fields.

    What sends a create request and what searches for its prediction by likeness must agree on it.
    """
    model_input = documents.load(job.input)
    return rename_fields(model_input, job.input_fields) if job.input_fields else model_input


def rename_fields(model_input: Mapping[str, Any], fields: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the input with other names for its fields, without those whose new name is None."""
    renamed = {name: fields.get(name, name) for name in model_input}
    return {new: model_input[name] for name, new in renamed.items() if new is not None}
