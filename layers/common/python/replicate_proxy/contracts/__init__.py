"""The JSON that other systems see: predictions of the public API, queue commands, bus events."""
