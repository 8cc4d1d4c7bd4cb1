"""Reward-model training from the shards of a dataset; stands on ``schemas`` alone.

``train`` is the loop, top to bottom, with ``optimizer`` and ``throughput`` beside it. The rooms:
``run`` (what a run is made of, its folder), ``planning`` (the settings that nobody gave, memory and
time beforehand), ``data``, ``model``, ``losses``, ``parallel``, ``checkpoints``, ``tracking``,
``validation``, ``uncertainty``, ``evaluation``, ``scoring``, ``scaling`` and ``ablation``.
``commands`` lists what the command line offers, ``registry`` judges models, and ``errors`` has
every error that a command reports.
"""
