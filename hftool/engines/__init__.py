"""Engines: run a model on a batch, in torch or ONNX Runtime."""
