"""Pauses: operators stop the predictions or the webhooks of a tenant, or of all, for a while."""
