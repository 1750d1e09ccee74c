"""Limits on how many predictions of a tenant or of a model run at Replicate at the same time.

A job that finds its limit reached is held: it waits in line, in the order of acceptance, and is sent when a
slot is free. `model` has the records, `limits` the configured numbers, `gate` is what dispatch asks, `line`
lets waiting jobs go, `releases` frees slots from the stream of changes, `repair` is the sweep's part, and
`remains` that of deletions.
"""
