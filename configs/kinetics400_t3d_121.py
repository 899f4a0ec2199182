"""Kinetics-400: T3D-121.

    python -m train fit kinetics400_t3d_121 --workdir runs/t3d_121 \
        --data.path VIDEOS --data.train_csv TRAIN.csv --data.eval_csv VAL.csv

T3D (arXiv 1711.08200): 32 frames in a row, shorter side 256, crops of 224; 200 epochs. The paper
lowers the rate where the loss stays; here it is a tenth from the half and three quarters on.
Judged by the centres of ten clips.

Expected 62.2 % top-1 (the paper's; its code was never whole).
Hardware 8 GPUs, 8 clips each.
Measured not yet. Videos of 256 pixels on the shorter side, which `python -m train reencode`
         makes, take least time to decode.
"""

from train.config import Experiment, Log
from train.optimizer import SGD
from train.video.classify import VideoStage
from train.video.crops import Jitter
from train.video.networks import Named
from train.video.sampling import Window
from train.video.sources import Kinetics

VIDEOS = 240_000  # to train on; Kinetics-400 loses some each year


def get_config() -> Experiment:
  epoch = VIDEOS // 64
  return Experiment(
    name="kinetics400_t3d_121",
    data=Kinetics(short_side=256, num_threads=16),
    stages={
      "classify": VideoStage(
        steps=200 * epoch,
        batch_size=64,
        eval_every=4 * epoch,
        checkpoint_every=2000,
        dtype="bfloat16",
        network=Named(name="t3d_121", dropout=0.0),
        sampling=Window(frames=32, stride=1),
        crops=Jitter(size=224, sides=(256,), test_side=256),
        optimizer=SGD(
          learning_rate=0.1,
          momentum=0.9,
          nesterov=True,
          weight_decay=1e-4,
          schedule="step",
        ),
        test_views=10,
        test_crops="centre",
      ),
    },
    log=Log(every=100),
  )
