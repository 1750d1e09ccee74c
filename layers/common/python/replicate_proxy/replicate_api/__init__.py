"""Calls to Replicate: HTTP client, errors, retries, circuit breaker, rate limits."""
