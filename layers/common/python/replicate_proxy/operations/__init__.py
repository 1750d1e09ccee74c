"""What operators do: keys, tenants, usage plans, dead letters."""
