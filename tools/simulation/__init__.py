"""Deterministic simulation of the pipeline: virtual time, seeded choices, an in-memory AWS."""
