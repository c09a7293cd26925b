pytest_plugins = ["pytester", "inner"]
