"""The composition root: one module per function, plus what several functions share.

Only these modules name concrete adapters and create AWS clients. `build_…` creates an object, `load_…` reads
a secret; with `@cache`, both do so once per process. What a function may not need in every cold start is
imported inside its builder.
"""
