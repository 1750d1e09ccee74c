"""The composition root: one module per function, plus what several functions share.

Only these modules name concrete adapters and create AWS clients. `build_…` creates what a handler calls, once
per process; functions named by a noun return a shared object. What a function may not need in every cold
start is imported inside its builder.
"""
