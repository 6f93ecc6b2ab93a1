"""Export of models to ONNX graphs, with a parity check against the original."""
