"""Replicate accounts of tenants: who has one, and what is built for each account."""
