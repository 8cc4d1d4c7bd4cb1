"""Versions of a dataset at the Hugging Face Hub: publishing and reading one, whole or not at all.

Whatever speaks to the Hub belongs here: its client and errors, retries, names, permissions, the
state of a repository, uploads before the one commit, pull requests, and the notes of a release.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
