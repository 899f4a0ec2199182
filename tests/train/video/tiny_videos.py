"""A small X3D on small moving digits, for tests: it learns next to nothing."""

from train.config import Experiment, Log
from train.optimizer import SGD
from train.video.classify import VideoStage
from train.video.crops import Jitter
from train.video.sampling import Window
from train.video.small import SmallX3D
from train.video.sources import MovingDigits


def get_config() -> Experiment:
  return Experiment(
    name="tiny_videos",
    data=MovingDigits(length=8, copies=1),
    stages={
      "classify": VideoStage(
        steps=12,
        batch_size=8,
        eval_batch_size=240,
        eval_every=6,
        checkpoint_every=3,
        network=SmallX3D(width=4, dropout=0.5),
        sampling=Window(frames=4, stride=1),
        crops=Jitter(size=12, sides=(14, 16), flip=0.5, mean=(0.1,), std=(0.25,)),
        optimizer=SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-4, decay_norms=False),
        label_smoothing=0.1,
        mixup=0.2,
        precise_norm=2,
        test_views=2,
        test_crops="three",
      ),
    },
    log=Log(every=3),
  )
