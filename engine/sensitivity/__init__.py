"""What quantizing each layer alone costs: where a quantized model loses its accuracy."""
