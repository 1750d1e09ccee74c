"""Model entries: names that operators give to models, with what applies to every prediction of them.

`entry` is the record and how it changes a create request, `document` are all of them, and `directory` finds
one, with a cache.
"""
