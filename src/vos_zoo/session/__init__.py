"""Annotation sessions: prompts at any frame, both directions, corrections that teach, a state that can be saved."""
