"""The long-running process: it starts sources, writers and maintenance, keeps them running, and reports their state over HTTP."""
