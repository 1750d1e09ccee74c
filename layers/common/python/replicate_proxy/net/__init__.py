"""Outbound HTTP. Requests to URLs from outside parties are checked, pinned to an address, and bounded."""
