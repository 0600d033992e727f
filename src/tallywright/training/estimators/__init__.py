"""The estimators: each learns a model from the same rows, and leaves it as an ONNX graph with the package's inputs."""
