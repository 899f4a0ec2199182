"""Digits that move in one of six directions: a small X3D names it.

    python -m train fit moving_digits --workdir runs/moving-digits

A clip is 8 frames of 28x28. No frame tells the direction, nor do all of a clip without their order
(`train/video/moving_digits.py`): a network whose kernels have no length in time can only guess.

Expected at least 95 % of the held-out clips right, and 17 % with `--classify.network.temporal 1`.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32, seed 0), 720 videos of 360 held-out digits, top-1 by one clip and by
         the mean of three, 500 steps, and the time of training, compiling included:

         network                              parameters   1 clip   3 clips   seconds
         SmallX3D                                 59,676    100.0     100.0        75
         SmallX3D, temporal 1                     53,310     16.7      16.7        56
         SmallSlowFast, width 12                 117,609     99.9     100.0        20
         SmallR2Plus1D, width 12                 112,014    100.0     100.0        48
         SmallI3D                                149,078    100.0     100.0       104

         `--classify.network SmallSlowFast`, and so on, trains the others. Waiting for data took
         less than 0.2 % of each interval (`data_wait`).
"""

from train.config import Experiment, Log
from train.optimizer import SGD
from train.video.classify import VideoStage
from train.video.crops import Jitter
from train.video.sampling import Window
from train.video.small import SmallX3D
from train.video.sources import MovingDigits


def get_config() -> Experiment:
  return Experiment(
    name="moving_digits",
    data=MovingDigits(),
    stages={
      "classify": VideoStage(
        steps=500,
        batch_size=32,
        eval_batch_size=60,
        eval_every=250,
        checkpoint_every=250,
        network=SmallX3D(dropout=0.0),
        sampling=Window(frames=8, stride=1),
        crops=Jitter(size=28, sides=(28,), flip=0.0, mean=(0.1,), std=(0.25,)),
        optimizer=SGD(
          learning_rate=0.1,
          momentum=0.9,
          nesterov=True,
          weight_decay=5e-5,
          decay_norms=False,
          schedule="whole_cosine",
          warmup_steps=100,
        ),
        test_views=3,
        test_crops="centre",
      ),
    },
    log=Log(every=50),
  )
