"""Which code a test executes, and whether that is still the same: recorded while its warm-up round runs, hashed from the source.

:mod:`.recorder` sees the code objects, :mod:`.source_file` reads one file, :mod:`.graph` follows what a function needs besides
itself, :mod:`.project` knows the files, and :mod:`.blame` says which functions a regression may come from.
"""
