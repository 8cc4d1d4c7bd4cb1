"""One step per file: a plain function with the logic, below it a thin PTransform."""
