"""Which code a test executes, and whether that is still the same: recorded while its warm-up round runs, hashed from the source.

:mod:`.recorder` sees the code objects, :mod:`.code` reads one file, :mod:`.graph` follows what a function needs besides itself,
:mod:`.project` knows the files, :mod:`.tracking` is the side of pytest and :mod:`.changed` answers what is not the same any more.
"""
