"""Two revisions of a project, measured in turn."""
