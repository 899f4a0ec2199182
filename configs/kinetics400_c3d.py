"""Kinetics-400: C3D.

    python -m train fit kinetics400_c3d --workdir runs/c3d \
        --data.path VIDEOS --data.train_csv TRAIN.csv --data.eval_csv VAL.csv

C3D (arXiv 1412.0767) with the schedule of VMZ: 16 frames in a row, frames of 128x171, crops of 112;
35 epochs of a million clips, rates a tenth after every tenth. Judged by the centres of ten clips.

Expected 66.6 % top-1 for VMZ's variant with batch norm; the original has none.
Hardware 8 GPUs.
Measured not yet. Videos of 128 pixels on the shorter side, which `python -m train reencode`
         makes, take least time to decode.
"""

from train.config import Experiment, Log
from train.optimizer import SGD
from train.video.classify import VideoStage
from train.video.crops import Resized
from train.video.networks import Named
from train.video.sampling import Window
from train.video.sources import Kinetics

EPOCH = 1_000_000 // 256


def get_config() -> Experiment:
  return Experiment(
    name="kinetics400_c3d",
    data=Kinetics(short_side=128, num_threads=16),
    stages={
      "classify": VideoStage(
        steps=35 * EPOCH,
        batch_size=256,
        eval_every=EPOCH,
        checkpoint_every=2000,
        dtype="bfloat16",
        network=Named(name="c3d"),
        sampling=Window(frames=16, stride=1),
        crops=Resized(size=112, height=128, width=171),
        optimizer=SGD(
          learning_rate=0.01,
          momentum=0.9,
          weight_decay=1e-4,
          schedule="step",
          decay_at=(10 / 35, 20 / 35, 30 / 35),
        ),
        test_views=10,
        test_crops="centre",
      ),
    },
    log=Log(every=100),
  )
