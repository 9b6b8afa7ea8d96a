"""Training: what pruning, quantization-aware training and distillation share. Imported by workers alone: it takes PyTorch."""
