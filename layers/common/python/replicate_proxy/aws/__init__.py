"""AWS clients and the adapters that implement the ports with them."""
