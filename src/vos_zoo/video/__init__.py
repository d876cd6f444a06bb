"""Video files and mask files: readers, writers, prompts."""
