"""Content of output files: what a file should be like, and the code that generates it."""
