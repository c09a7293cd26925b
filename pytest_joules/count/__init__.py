"""Instructions: how the bodies of tests are counted in a process of its own, and what decides such a count."""
