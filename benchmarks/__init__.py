"""Measurements of the pipeline, and the generator of the dumps they run on."""
