"""Deliberately broken variants of the code, which the simulation must catch.

Each one removes what keeps one guarantee: a condition, an order, a wait. A mutant that survives is a gap in
the simulation, not a strength of the code.
"""
