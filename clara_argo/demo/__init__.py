"""The demo (`loop.run` is its door), and input for any workflow (`samples.lay`): patients who are made by code."""
