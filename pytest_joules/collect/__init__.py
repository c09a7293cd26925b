"""Collecting a data set: the tests of public packages, each package in an environment of its own, measured and written down.

One direction: ``fetching`` brings a source distribution, ``archive`` unpacks it, ``requirements`` finds what its tests need,
``environment`` installs, ``sandbox`` runs every command that executes code of others, ``choosing`` is the pytest plugin inside,
``records`` makes lines of the history, ``package`` is the course of one package, ``run`` that of all.

Pairs of releases go the same way: ``pair_trees`` makes two trees that differ in the package's source, ``pair_side`` runs pytest
in one of them, ``pair`` is the course of one pair, ``pair_records`` makes its lines.
"""

#: Of a data set.
SCHEMA = "pytest-joules-dataset/1"
