"""The webhook API: endpoints, signing secrets, deliveries and redeliveries."""
