"""The leaderboard: run records in comparable groups next to published results, as text, tables and a page."""
