"""TFDS builders: one package a dataset, each with a module `<name>_dataset_builder`.

Such a module has `Builder`, and `config(source)`, which looks at the user's files and returns the
builder's config, or None where there is nothing to configure.
"""
