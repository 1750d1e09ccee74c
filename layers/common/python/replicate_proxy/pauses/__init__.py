"""Pauses: operators stop the predictions of a tenant, or of all, for a while."""
