"""All that talks to Replicate: the HTTP client, its errors, retries, circuit breaker and outgoing rate."""
