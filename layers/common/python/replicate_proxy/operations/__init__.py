"""Use cases of operators: API keys, tenants, usage plans and dead letters."""
