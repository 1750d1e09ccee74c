"""A load test: requests by locust (`locustfile`), and a count of what became of each accepted prediction."""
