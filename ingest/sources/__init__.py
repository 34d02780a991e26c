"""Runs the pure code of exchanges and providers: live feeds, pollers, gap filling, backfills and replays."""
