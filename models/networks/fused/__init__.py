"""Networks of the folder above, on the kernels of models.cuda."""
