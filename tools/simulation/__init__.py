"""The deterministic simulation: the whole system in one process, under every interleaving and fault.

docs/simulation.md explains it.
"""
