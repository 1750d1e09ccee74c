"""A serverless front to the Replicate API. No imports here: every handler would pay for them."""

import gc

__version__ = "0.1.0"

# What imports create lives as long as the process. By default the collector would search it for garbage some
# forty times in a cold start, which is a fifteenth of it, and again and again while requests are handled.
gc.set_threshold(50_000)
