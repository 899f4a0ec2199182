"""Kinetics-400: X3D-M.

    python -m train fit kinetics400_x3d_m --workdir runs/x3d_m \
        --data.path VIDEOS --data.train_csv TRAIN.csv --data.eval_csv VAL.csv

X3D (arXiv 2004.04730) with PySlowFast's recipe: 16 frames of 5 apart at 30 a second, shorter sides
of 256 to 320, crops of 224, 300 epochs of which 35 warm up, a cosine over all of them, no decay of
norms, precise statistics of 200 batches; judged by 10 clips x 3 crops of 256, softmaxes of each
window. Norms here take the statistics of all 128 clips, PySlowFast's of 8.

Expected 76.2 % top-1 by 30 views, 75.1 % by 10 (PySlowFast); 75.9 % (pytorchvideo).
Hardware 8 GPUs.
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
  epoch = VIDEOS // 128
  return Experiment(
    name="kinetics400_x3d_m",
    data=Kinetics(short_side=256, num_threads=16),
    stages={
      "classify": VideoStage(
        steps=300 * epoch,
        batch_size=128,
        eval_every=4 * epoch,
        checkpoint_every=2000,
        dtype="bfloat16",
        network=Named(name="x3d_m", head="dense"),
        sampling=Window(frames=16, stride=5, target_fps=30.0),
        crops=Jitter(size=224, test_size=256, sides=(256, 320)),
        optimizer=SGD(
          learning_rate=0.1,
          momentum=0.9,
          nesterov=True,
          weight_decay=5e-5,
          decay_norms=False,
          schedule="whole_cosine",
          warmup_steps=35 * epoch,
          warmup_from=0.01,
        ),
        precise_norm=200,
        test_views=10,
        test_crops="three",
      ),
    },
    log=Log(every=100),
  )
