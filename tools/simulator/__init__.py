"""A local stand-in for Replicate's HTTP API: real files, real signed webhooks, faults on demand."""
