"""The benchmark behind deploy/bench.sh: the daemon against a reference, in one run on one private server."""
