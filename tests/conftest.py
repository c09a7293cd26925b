pytest_plugins = ["pytester", "inner", "servers"]
