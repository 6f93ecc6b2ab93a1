"""`pytest -p support.fewer_collections`: fewer garbage collections.

torch and transformers hold a million objects. With Python's thresholds they are visited so often that it takes 8 to 13 % of the time.
"""

import gc

gc.set_threshold(20_000, 10, 10)
