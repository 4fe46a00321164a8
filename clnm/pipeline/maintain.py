"""Maintain: the store's history and health, its catalogue, backups; who a patient is, and forgetting one."""
