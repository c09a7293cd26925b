"""A test file that passes."""

PASSING = "def test_a():\n    draw(1000)\n"
