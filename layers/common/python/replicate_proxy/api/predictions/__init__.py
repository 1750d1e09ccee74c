"""Predictions over HTTP: request bodies, creating, reading and canceling."""
