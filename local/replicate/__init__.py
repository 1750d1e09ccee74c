"""A local stand-in for Replicate's HTTP API: real HTTP, real files, real signed webhooks, injectable faults."""
