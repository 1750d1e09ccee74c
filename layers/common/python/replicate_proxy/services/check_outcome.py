"""The outcomes of the checks of overdue jobs, as the sweep logs and counts them. No I/O."""

from __future__ import annotations

from enum import StrEnum


class CheckOutcome(StrEnum):
    """The outcome of one check."""

    # Queued
    SUBMIT_REQUEUED = "submit_requeued"
    # Submitting
    LEASE_ACTIVE = "lease_active"
    # Outcome of the create request unknown
    PREDICTION_FOUND = "prediction_found"
    STILL_UNKNOWN = "still_unknown"
    RESUBMITTED = "resubmitted"
    UNRESOLVED = "unresolved"
    # Running on Replicate
    REPORT_PUBLISHED = "report_published"
    STILL_RUNNING = "still_running"
    ABANDONED = "abandoned"
    OUTPUT_LOST = "output_lost"
    ENDED_WITH_UNKNOWN_STATUS = "ended_with_unknown_status"
    # Unknown outcome, or running: in a tenant's account that the proxy cannot use any more
    ACCOUNT_LOST = "account_lost"
    # Harvesting
    HARVEST_RESUMED = "harvest_resumed"
    FINISHED_WITH_SOURCE_URLS = "finished_with_source_urls"
    # Not checked, or without effect
    NOT_DUE = "not_due"
    NOT_FOUND = "not_found"
    OUT_OF_TIME = "out_of_time"
    CHANGED_CONCURRENTLY = "changed_concurrently"
    CHECK_FAILED = "check_failed"
