"""The settings of training data: one dataclass per concern, whose fields carry their rule and their meaning."""
