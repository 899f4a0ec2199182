"""Other people's networks for clips, to compare with; PyTorch is needed."""
