"""A small language model, adapted to say what a test costs by its text.

One direction: ``extra`` imports what it needs where that is installed, ``base`` finds the model that is adapted, ``texts`` makes
the text of a test, ``network`` is base, adapter and head, ``training`` teaches it, ``checkpoint`` keeps an unfinished training,
``learning`` is the whole course, ``model`` is what is kept of it: numbers; ``scoring`` asks it in a process of its own, and
``predictor`` answers with it.
"""

#: Of a model's file.
SCHEMA = "pytest-joules-language-model/1"
