"""The published design: two signatures, a LASSO over them and the clinical variables, nine models judged without leaks.

Start at `clnm.models.training.train_models`; `clnm.models.registry` keeps the result on disk.
"""
