"""Output files of predictions: found in any JSON shape, fetched, compressed, kept, and put back in their
places.
"""
