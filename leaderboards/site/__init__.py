"""Builds the static leaderboard site: pages of boards and defenses, made from result files alone."""
