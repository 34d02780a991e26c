"""The settings, read from the configuration file and the environment, and validated."""
