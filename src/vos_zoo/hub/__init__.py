"""Model folders and files: saving, loading, published and shipped weights, downloads."""
