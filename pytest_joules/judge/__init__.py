"""Whether a test has become more expensive: from samples to verdicts."""
