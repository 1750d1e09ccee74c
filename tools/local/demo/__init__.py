"""The main job, run as an application would run it, and every hop of it shown with its evidence."""
