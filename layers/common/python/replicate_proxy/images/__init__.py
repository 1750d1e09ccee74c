"""Images made small and harmless with Pillow, in a child process. Only the harvest function carries Pillow."""
