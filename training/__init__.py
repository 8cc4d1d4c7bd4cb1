"""Reward-model training from the shards of a dataset; stands on ``schemas`` alone.

The loop is in the files beside this one: ``train`` (top to bottom), ``run`` (what a run is made
of), ``checkpoint``, ``optimizer``, ``distributed``, ``throughput``, ``run_log``. The rooms are
``data``, ``model``, ``losses``, ``validation``, ``evaluation`` and ``scaling``. ``commands`` lists
what the command line offers, ``registry`` judges models, and ``errors`` has every error that a
command reports.
"""
