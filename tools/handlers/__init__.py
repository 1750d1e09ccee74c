"""Run the handlers of the functions in processes of their own, as built, against a local stack."""
