"""Reward-model training from the shards; stands on `schemas` alone."""
