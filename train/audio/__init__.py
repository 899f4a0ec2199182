"""Sound: speech and music as sources, and what is learned from them."""
