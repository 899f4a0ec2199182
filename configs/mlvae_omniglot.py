"""Omniglot in groups of one character each, whole alphabets held out: an ML-VAE whose contents tell
characters that it never saw.

    python -m train fit mlvae_omniglot --workdir runs/mlvae-omniglot --data.path PATH

PATH is one of Omniglot's images_*.zip, or a folder that holds them: where the evaluation set is
among them it is what is held out, else a fifth of the alphabets. ML-VAE (arXiv 1705.08841) with
convolutions at 28x28, ten drawings a group, each moved by up to 3 pixels. The checkpoint is chosen
by the ELBO of the held-out drawings; no figure of classes takes part.

Expected unseen characters told by a few drawings better by content than by pixels.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32, seed 0), images_background_small1.zip, Korean held out (1,920
         drawings of 96 characters train, 800 of 40 are held out): 643 s of training. 20-way
         accuracy by the nearest mean, 1,000 episodes: content 52.4 %, 70.9 %, 74.6 %, pixels 18.6
         %, 35.4 %, 42.8 % with 1, 5 and 10 drawings a character.
         Negative ELBO 164.28 nats a drawing, KL of the content 36.42 a group, of the style
         11.65 a drawing; MSE 0.0343 by each drawing's own content, 0.0363 by its
         group's; the content's variance falls from 3.91 (k = 1) to 0.21 (k = 16).
         In the swaps a column's style is where, how large and how wide the strokes are.

         With a style of 16 dimensions contents tell more, 54.8 %, 74.9 %, 78.8 %, and drawings are
         sharper (MSE 0.02456), but the style draws most of the character: swaps show the column's.
"""

from train.config import Experiment, Log
from train.images.mlvae import MLVAEStage
from train.images.sources import Omniglot
from train.optimizer import Adam


def get_config() -> Experiment:
  return Experiment(
    name="mlvae_omniglot",
    data=Omniglot(path="data/omniglot", image_size=28, eval_fraction=0.2),
    stages={
      "mlvae": MLVAEStage(
        steps=4000,
        batch_size=120,
        eval_every=500,
        checkpoint_every=500,
        optimizer=Adam(learning_rate=1e-3, schedule="cosine"),
        network="conv",
        content_dim=64,
        style_dim=6,
        hidden=(512,),
        channels=(64, 128),
        group_size=10,
        max_shift=3,
      ),
    },
    log=Log(every=100),
  )
