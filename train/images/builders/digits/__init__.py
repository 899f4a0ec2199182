"""scikit-learn's handwritten digits, as smooth 32x32 images."""
