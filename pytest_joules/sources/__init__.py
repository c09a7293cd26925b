"""The sources of joules: one file each behind the small protocol of :mod:`pytest_joules.sources.base`.

Importing this package imports none of them; :mod:`pytest_joules.sources.choose` does, when somebody measures.
"""
