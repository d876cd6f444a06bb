"""The streaming engine: what a target model is, the views of a frame, and the propagator."""
