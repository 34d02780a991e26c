"""Sessions, frames and REST answers of each exchange for its tests."""
