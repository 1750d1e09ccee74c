"""Faults on demand: rules that break chosen requests and webhooks, reproducibly."""
