"""Pairs that are not independent: those of one thread, and of threads that share a text."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def clusters_of(keys: Sequence[Sequence[str]]) -> npt.NDArray[np.int64]:
    """Number the clusters of pairs [P]: pairs with a key in common are in one, and so on.

    ``keys``: of each pair, e.g. its thread and its three texts. Union-find; the numbers do not
    depend on anything but which pairs are together and their order.
    """
    root: list[int] = []
    number: dict[str, int] = {}

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    places = []
    for of_pair in keys:
        here = []
        for key in of_pair:
            place = number.setdefault(key, len(root))
            if place == len(root):
                root.append(place)
            here.append(find(place))
        least = min(here)
        for place in here:
            root[find(place)] = least
        places.append(least)
    _, found = np.unique([find(place) for place in places], return_inverse=True)
    return found.astype(np.int64)
