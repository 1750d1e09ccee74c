"""Webhooks to the application: events, deliveries, endpoints, receiver limits."""
