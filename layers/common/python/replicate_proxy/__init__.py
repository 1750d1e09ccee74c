"""Replicate Proxy: a serverless front to the Replicate API. No imports here: every handler pays for what it uses."""

__version__ = "0.1.0"
