"""What touches the world: data, devices, checkpoints, pictures, the command line."""
