"""What ONNX Runtime makes of a model, where the time goes, and what that allows: evidence, and sentences derived from it."""
