"""A training run's parts besides the model: optimiser, checkpoints, monitoring, run folders."""
