"""clnm: a batch data platform with a feature store for hospital ultrasound."""

__version__ = "0.1.0"
