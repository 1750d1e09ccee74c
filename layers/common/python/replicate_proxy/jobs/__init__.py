"""What a job is, how its status moves, and when somebody must look at it again. Pure: no AWS, no HTTP."""
