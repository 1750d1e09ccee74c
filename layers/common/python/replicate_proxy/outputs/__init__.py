"""Harvest the output files of predictions.

`references` finds the files in an output of any JSON shape and puts other URLs in their places. `harvester`
handles all files of an output in parallel, `file_harvester` one file: `fetch` downloads it, `file_types`
detects its type, `images` compresses it, `storage` puts it into the bucket. The result is a `FileRecord` for
each file.
"""
