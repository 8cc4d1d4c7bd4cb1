"""Which label trains the better model: datasets that differ in the label alone, and their worth.

``plan`` reads the file of arms; ``arms`` curates them from the same threads; ``controls`` makes
arms that no vote stands behind; ``equal_pairs`` cuts all to the same pairs and words;
``fair_pairs`` chooses what they are judged on; ``study`` runs the whole, step by step, and ``page``
shows it. What is made here is for comparing, and its manifests say that it may not be published.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
