"""The fault suite: seeded runs of the daemon against everything that goes wrong, judged by an oracle."""
