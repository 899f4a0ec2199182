"""Kinetics-400: I3D.

    python -m train fit kinetics400_i3d --workdir runs/i3d \
        --data.path VIDEOS --data.train_csv TRAIN.csv --data.eval_csv VAL.csv

I3D (arXiv 1705.07750): 64 frames in a row at 25 a second, shorter side 256, crops of 224, values
in [-1, 1]; 115,000 steps, rates a tenth from 97,000 and 108,000 on. Judged by four clips of 64
frames, all of a video of ten seconds, the centre of each, logits averaged.

Expected 68.4 % top-1 on RGB from scratch, 71.1 % from ImageNet's weights (the paper's, on the test
         set).
Hardware 64 GPUs, 6 clips each, in the I3D paper.
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
  epoch = VIDEOS // 384
  return Experiment(
    name="kinetics400_i3d",
    data=Kinetics(short_side=256, num_threads=16),
    stages={
      "classify": VideoStage(
        steps=115_000,
        batch_size=384,
        eval_every=4 * epoch,
        checkpoint_every=2000,
        dtype="bfloat16",
        network=Named(name="i3d"),
        sampling=Window(frames=64, stride=1, target_fps=25.0, to_the_end=True),
        crops=Jitter(size=224, sides=(256,), test_side=256, mean=(0.5,), std=(0.5,)),
        optimizer=SGD(
          learning_rate=0.1,
          momentum=0.9,
          weight_decay=1e-7,
          schedule="step",
          decay_at=(97 / 115, 108 / 115),
        ),
        test_views=4,
        test_crops="centre",
        scores="logits",
      ),
    },
    log=Log(every=100),
  )
