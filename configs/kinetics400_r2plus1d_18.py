"""Kinetics-400: R(2+1)D-18.

    python -m train fit kinetics400_r2plus1d_18 --workdir runs/r2plus1d_18 \
        --data.path VIDEOS --data.train_csv TRAIN.csv --data.eval_csv VAL.csv

R(2+1)D (arXiv 1711.11248) with torchvision's recipe: 16 frames in a row at 15 a second, frames of
128x171, crops of 112; 45 epochs of five clips a video, of which 10 warm up, rates a tenth from
epochs 20, 30 and 40 on; judged by 5 clips, the centre of each.

Expected 67.5 % top-1, 86.2 % top-5 by 5 clips (torchvision).
Hardware 64 V100 for a day in torchvision, 24 clips each.
Measured not yet. Videos of 128 pixels on the shorter side, which `python -m train reencode`
         makes, take least time to decode.
"""

from train.config import Experiment, Log
from train.optimizer import SGD
from train.video.classify import VideoStage
from train.video.crops import Resized
from train.video.networks import Named
from train.video.sampling import Resampled
from train.video.sources import Kinetics

VIDEOS = 240_000  # to train on; Kinetics-400 loses some each year

MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # torchvision's


def get_config() -> Experiment:
  epoch = VIDEOS // 1536
  return Experiment(
    name="kinetics400_r2plus1d_18",
    data=Kinetics(short_side=128, num_threads=16),
    stages={
      "classify": VideoStage(
        steps=45 * 5 * epoch,
        batch_size=1536,
        eval_every=5 * epoch,
        checkpoint_every=2000,
        dtype="bfloat16",
        network=Named(name="r2plus1d_18", dropout=0.0),
        sampling=Resampled(frames=16, rate=15.0),
        crops=Resized(size=112, height=128, width=171, mean=MEAN, std=STD),
        optimizer=SGD(
          learning_rate=0.64,
          momentum=0.9,
          weight_decay=1e-4,
          schedule="step",
          decay_at=(20 / 45, 30 / 45, 40 / 45),
          warmup_steps=10 * 5 * epoch,
        ),
        test_views=5,
        test_crops="centre",
      ),
    },
    log=Log(every=100),
  )
