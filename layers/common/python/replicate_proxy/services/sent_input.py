"""The input of a job as it is sent to Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import DocumentStore


def load_sent_input(job: Job, documents: DocumentStore) -> Any:
    """Return the input with the names that what runs has for its fields.

    What sends a create request and what searches for its prediction by likeness must agree on it.
    """
    model_input = documents.load(job.input)
    if not job.input_fields:
        return model_input
    renamed = {name: job.input_fields.get(name, name) for name in model_input}
    return {renamed[name]: value for name, value in model_input.items() if renamed[name] is not None}
