"""Outbound HTTP to URLs from outside parties: checked, pinned to an address, and bounded in time and size."""
