"""Reports, one file a format, each a pure function of the report model.

:mod:`~pytest_joules.report.quantity` writes numbers with their units, :mod:`pytest_joules.files.atomic` puts a file in its
place or leaves the old one alone. Nothing here changes a report.
"""
