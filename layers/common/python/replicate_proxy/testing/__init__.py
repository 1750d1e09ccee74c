"""Hooks for tests on the local stack: fault injection, checkpoints, and a clock with an offset."""
