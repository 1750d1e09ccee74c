"""The webhook API: endpoints, signing secrets, deliveries, delivery attempts and redelivery."""
