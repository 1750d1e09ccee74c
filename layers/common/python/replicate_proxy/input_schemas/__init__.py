"""Input schemas of models: `rules` reduces what Replicate publishes, `schema` validates an input against it.

Schemas are written by the authors of models, so they are data that cannot be trusted
(docs/decisions/0046-inputs-are-checked-before-they-are-queued.md).
"""
