"""Generated videos."""
