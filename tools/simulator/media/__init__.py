"""Bytes of output files: real, varied, and pooled so that thousands of predictions cost little CPU."""
