"""How many predictions a tenant had and what they cost, by day, model and key."""
