"""TFDS builders: a module a dataset, named as the source that it is for, in lower case.

Such a module has `Builder`, and `config(source)`, which looks at the user's files and returns the
builder's config, or None where there is nothing to configure.
"""
