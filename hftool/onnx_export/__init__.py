"""A model as ONNX graphs, compared with the original before they are kept."""
