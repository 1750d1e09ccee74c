"""Command-line tools for operators: the first admin key, API keys, dead letters.

Run them as `PYTHONPATH=.:layers/common/python python -m tools.cli.NAME`.
"""
