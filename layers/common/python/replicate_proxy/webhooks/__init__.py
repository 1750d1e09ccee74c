"""Webhooks to applications, from the change of a job to a signed request.

notifier          stores events and deliveries for a change of a job (`events`, `status_events`)
deliverer         attempts a delivery (`request_builder`, `sender`, `retry_policy`)
delivery_updater  the state changes of a delivery
delivery_sweep    enqueues deliveries that are due
receiver_limits   limits the concurrent requests to a receiver
endpoint_health   disables endpoints that keep failing
endpoint_service  manages endpoints and signing secrets (`endpoints`, `signing_secrets`)
redelivery        sends deliveries again on request
stream_replay     replays stream batches that the notify function gave up on
"""
