"""One pure file per exchange protocol; README.md says how to add one."""
