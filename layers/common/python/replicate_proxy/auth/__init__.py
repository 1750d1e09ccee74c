"""Authentication and authorization: API keys, identity-provider tokens, scopes and tenants."""
