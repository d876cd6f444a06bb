"""Configuration: its schema, its layers (defaults, method, recipe, command line), its checks, files of the package."""
