"""The long-running process: it starts the sources and the writers, keeps them alive, and answers for their state."""
