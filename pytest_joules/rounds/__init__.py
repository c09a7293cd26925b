"""Running a test again, correctly: the only room that touches pytest's private parts."""
