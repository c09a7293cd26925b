"""The pytest plugins of a run that measures or predicts: one a file."""
