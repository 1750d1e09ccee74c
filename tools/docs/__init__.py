"""Reference pages in docs/ that are made from the code."""
