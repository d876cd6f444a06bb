"""Videos composed from cut-outs of masked images and frames."""
