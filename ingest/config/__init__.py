"""The settings: what the configuration file and the environment say, checked. Nothing is opened here."""
