"""Compress images and remove their metadata with Pillow, in child processes.

`pool` is the parent's side, `worker` the child's; a child runs `pipeline` on one image after another.
`options`, `task` and `pool` do not import Pillow, which only the harvest function ships.
"""
