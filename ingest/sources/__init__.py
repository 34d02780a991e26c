"""What runs the pure sources: live feeds, pollers, gap filling, backfills and replays."""
