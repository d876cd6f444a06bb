"""Shared parts of the methods with a few-shot learner (LWL, JOINT and LLB)."""
