"""From videos to training clips: sampling, crops, transforms, mixtures."""
