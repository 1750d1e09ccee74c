"""Predictions over HTTP: request bodies and headers, creating, reading and canceling."""
