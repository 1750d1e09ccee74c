"""HTTP routes, one module per area of the API; each module has its list of ROUTES."""
