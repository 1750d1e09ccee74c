"""The routes of our HTTP functions: requests into calls of one service, results into replies."""
