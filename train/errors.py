"""What a user got wrong, told apart from what the program got wrong."""


class BadInput(ValueError):
  """What the user gave can't be used; str() is one line: the thing, what was found, what would be
  right."""
