"""Benchmarks: `make bench` runs them all and writes tools/bench/results.json."""
