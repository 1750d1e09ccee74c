"""Command-line tools for operators: the first admin key, API keys, dead letters.

Run them as `.venv/bin/python -m tools.cli.NAME`.
"""
