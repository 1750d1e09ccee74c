"""`make demo`: run a prediction as an application would, and show every hop of it with its evidence.

`run` creates the prediction and waits for its end. `evidence` asks all parties what happened, `hops` compares
their statements, `display` shows the hops. `receiver` is the application that receives the webhook.
"""
