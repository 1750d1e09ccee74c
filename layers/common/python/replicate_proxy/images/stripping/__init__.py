"""Metadata out of files whose pixels stay as they are, one module for each format."""
