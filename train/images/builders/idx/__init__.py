"""Images and labels in the idx files of MNIST."""
