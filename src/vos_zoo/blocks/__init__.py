"""Building blocks that several methods share: backbones, the few-shot learner, decoders, norms."""
