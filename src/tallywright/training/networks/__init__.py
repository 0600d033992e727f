"""torch: the project's network as a module, its fit with checkpoints, its trial beforehand, its export to ONNX."""
