"""What a search found, for people: a table, a picture and a page."""

from host.report.page import write_report
from host.report.pareto import write_pareto
from host.report.rows import family_rows
from host.report.table import family_table

__all__ = ["family_rows", "family_table", "write_pareto", "write_report"]
