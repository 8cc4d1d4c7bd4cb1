"""Which responses of a thread form preference pairs, and why the others do not.

The scores of votes, the label rules with their presets, the decisions, and the rows that they
become. To add a rule is to add a LabelRule to the table in `label_rules`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
