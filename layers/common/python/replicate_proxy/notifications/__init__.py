"""Telling the application: events of jobs, signed and retried deliveries, the endpoints they go to."""
