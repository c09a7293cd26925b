"""What the predictor's options may say: read before anything is imported that predicts."""

from __future__ import annotations

#: Files beside the history, in pytest's cache folder: the model, and what was explored.
MODEL_FILE = "model.npz"
EXPLORED_FILE = "explored.npz"
#: What tests cost in: joules, seconds, ticks of the time stamp counter.
TARGETS = ("joules", "seconds", "tsc")
#: The model that needs the extra ``lora``, and its file: none that is looked for where nobody names it.
LANGUAGE_MODEL, LANGUAGE_MODEL_FILE = "lora", "lora.npz"
#: By what a model may predict.
MODELS = ("change", "last", "constant", "linear", "bow", "boosted", "additive")
