"""Code that several tests use. It has no tests, and no test imports another test."""
