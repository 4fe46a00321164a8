"""How the fast engine's loops are compiled: cached on disk, without the interpreter's lock, never with fast-math.

A division by zero gives infinity or NaN as in numpy. Numba is imported here and nowhere else, so that `clnm --help`
does not wait for it.
"""

from __future__ import annotations

from numba import njit, uintp

kernel = njit(cache=True, nogil=True, error_model="numpy")

__all__ = ["kernel", "uintp"]
