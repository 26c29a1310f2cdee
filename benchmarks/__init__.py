"""Times training and prediction beside NumPy, scikit-learn, PyTorch and JAX: `python -m benchmarks`."""
