"""Images made small and harmless with Pillow, in a child process. Only harvest carries Pillow."""
