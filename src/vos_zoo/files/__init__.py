"""Files as users have them: folders of pictures, 16-bit frames, lists from any editor, outputs that are inputs."""
