"""Hooks for tests on the local stack: fault injection, checkpoints, a clock that can be moved."""
