"""Sessions, frames and REST responses of exchanges."""
