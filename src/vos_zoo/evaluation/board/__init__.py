"""The leaderboard: run records in groups that can be compared, papers' rows beside them; as text, tables and a page."""
