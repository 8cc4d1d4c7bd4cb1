"""Stack Exchange: dumps of XML tables, packed or not, of many sites, joined by post and by user.

`paths`, `archives` and `unpack` find the sites and their tables; `xml_segments` and `xml_rows` read
a table by byte ranges; `rows` and `tables` make posts and events of its rows; `join` brings votes,
closings and names to their posts; `source` is what the registry lists.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
