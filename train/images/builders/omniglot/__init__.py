"""Omniglot: handwritten characters of many alphabets, a class a character."""
