"""One pure package for each exchange; README.md has the steps to add one."""
