"""What methods with a few-shot learner share (LWL, JOINT and LLB)."""
