"""What every method shares: the six verbs, memory, views, the streaming engine and the LightningModule."""
