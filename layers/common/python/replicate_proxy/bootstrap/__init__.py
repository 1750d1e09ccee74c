"""Composition root, a module a function: the only place that names concrete adapters."""
