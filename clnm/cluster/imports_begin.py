"""Imported first by the process that workers are forked from: nothing that libraries make of themselves is garbage."""

import gc

gc.disable()  # to look for it takes a third of the time
