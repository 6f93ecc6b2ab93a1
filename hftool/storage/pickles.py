"""Pickled weights, which can run code: the endings of their files, and how to get others."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib")
CONVERT = (
    "Take the Hub's safetensors revision of it (often refs/pr/N of the repository), or convert it in a sandbox with "
    "safetensors.torch.save_file"
)
