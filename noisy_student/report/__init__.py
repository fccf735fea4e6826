"""Writes what a run found as JSON, Markdown, CSV and one HTML page.

Functions take the content of results.json as `results`, its "figures" as `figures`, and the models
of these as `models`. A `palette` is model -> color.
"""

from noisy_student.report.text import terminal as table
from noisy_student.report.writer import compare, run

__all__ = ["compare", "run", "table"]
