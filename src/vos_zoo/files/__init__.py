"""User files: folders of images, 16-bit frames, text lists, and checks that outputs are not inputs."""
