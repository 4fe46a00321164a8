"""A disk that is full, for a block."""

import resource
from contextlib import contextmanager


@contextmanager
def files_no_larger_than(size):
    """A disk that takes no byte more: writing beyond `size` fails, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
