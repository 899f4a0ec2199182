"""Sound: utterances of speakers, and what hears them."""
