"""Erasure of a tenant: its keys stop, its predictions end, and all that is stored about it is removed."""
