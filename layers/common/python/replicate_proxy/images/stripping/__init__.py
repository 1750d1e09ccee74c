"""Remove metadata from image files without decoding them, one module for each format.

What follows the end of the image is removed too, so that it cannot hide another file.
"""
