"""`make chaos`: jobs through everything that can go wrong, then a count on both sides."""
