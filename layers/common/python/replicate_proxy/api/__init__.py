"""The HTTP API: handlers translate requests into calls of one service, and results into responses."""
