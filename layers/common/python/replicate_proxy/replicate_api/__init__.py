"""Everything that talks to Replicate: the HTTP client, its errors, retries, the circuit breaker, the outgoing rate."""
