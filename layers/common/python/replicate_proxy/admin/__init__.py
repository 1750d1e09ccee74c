"""What an operator does: keys, tenants, the breaker, dead letters. Every route asks for the scope `admin`."""
