"""From the shards of a dataset to tensors: rows, the order of batches, tokens, and micro-batches.

The way of a pair: ``dataset`` reads row groups, ``sampler`` says which rows make up which step,
``prompt_groups`` puts the pairs of a prompt together and shards them by rank, ``tokenizer`` and
``template`` make ids, ``collate`` lays them out, and ``loader`` does all of it ahead of the step.
What is in a batch belongs here; what is computed from it belongs in ``model``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
