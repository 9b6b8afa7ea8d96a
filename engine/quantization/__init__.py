"""Static quantization of ONNX graphs: number types, ranges, what is done to the weights before and to the biases after."""
