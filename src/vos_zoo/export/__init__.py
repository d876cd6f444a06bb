"""A model's steps of a frame as ONNX files, checked against torch, and a tracker that runs on them without torch."""
