"""What a training run needs beside the model: optimiser, checkpoints, monitoring, run folders."""
