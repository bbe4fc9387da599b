"""hearth convert: weights in pytorch_model.bin as safetensors, read without running their code. No torch."""
