"""Wire models at the edges: the public API, queue commands, bus events."""
