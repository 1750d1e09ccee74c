"""Budgets of tenants and keys: limits on what their predictions may cost in a day or a month."""
