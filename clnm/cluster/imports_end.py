"""Imported last by the process that workers are forked from: they look for garbage in what they make themselves alone.

Nor do they write into what they share with it, as the search would.
"""

import gc

gc.freeze()
gc.enable()
