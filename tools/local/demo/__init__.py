"""`make demo`: run a prediction as an application would, and show every hop of it with its evidence.

`run` creates the prediction and waits for its end. `evidence` fetches what the API, Replicate, S3 and the
output URLs show, `hops` derives from it which hops happened, and `display` shows them. `receiver` is the
application that receives the webhook.
"""
