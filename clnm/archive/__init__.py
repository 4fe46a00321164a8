"""Intake: archives as they are, every file in exactly one state, nobody's name past this point."""
