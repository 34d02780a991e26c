"""The fault suite: runs of the daemon under random faults drawn from a seed, checked against an oracle."""
