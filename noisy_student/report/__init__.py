"""Writes what a run found as JSON, Markdown, CSV and one HTML page."""

from noisy_student.report.writer import compare, run, table

__all__ = ["compare", "run", "table"]
