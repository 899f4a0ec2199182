"""Images in a folder, a subfolder a class."""
