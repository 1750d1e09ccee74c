"""A serverless front to the Replicate API. No imports here: every handler would pay for them."""

__version__ = "0.1.0"
