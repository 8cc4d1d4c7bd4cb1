"""Steps of the pipeline: dumps of forums in, preference pairs out.

A step is a plain function with the logic and, below it, a thin PTransform that only wires it. Each
room (subpackage) is about one subject; what it offers to others stands in its ``__init__.pyi``.
"""
