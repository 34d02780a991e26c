"""The benchmarks of deploy/bench.sh: the daemon against a reference, in the same run on the same private server."""
