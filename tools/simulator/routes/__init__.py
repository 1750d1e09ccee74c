"""HTTP routes, one module per concern; each exports ROUTES."""
