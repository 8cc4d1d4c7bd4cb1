"""The report of a dataset: one HTML file with figures and a browser of sampled rows.

What the page says is computed here from a finished folder; how it looks is in the templates, the
style sheet and the script. Text from forums is escaped or sanitised, and the page loads nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
