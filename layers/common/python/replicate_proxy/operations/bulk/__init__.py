"""Bulk operations: one action on all jobs that match a filter, with progress, cancel and result."""
