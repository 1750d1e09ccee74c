"""Chaos test: submits jobs to a local stack under fault injection, then audits each one (`make chaos`)."""
