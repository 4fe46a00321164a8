"""Answers to the three users' daily questions."""
