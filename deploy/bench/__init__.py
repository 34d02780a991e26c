"""The benchmark behind deploy/bench.sh: ours against a reference, in one run on one private server."""
