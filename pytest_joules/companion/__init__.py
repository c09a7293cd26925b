"""Another pytest process that runs tests when it is told to."""
