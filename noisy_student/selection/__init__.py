"""Selects the pseudo labels a student learns from."""

from noisy_student.selection.rule import ClassStatistics, Decision, copies_for, decide, select

__all__ = ["ClassStatistics", "Decision", "copies_for", "decide", "select"]
