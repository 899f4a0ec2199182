"""UCF101: R(2+1)D-34, fine-tuned from Kinetics.

    python -m train import r2plus1d_34 WEIGHTS.pth --workdir runs/r2plus1d
    python -m train fit ucf101_r2plus1d_34 --workdir runs/ucf101 \
        --classify.start_from runs/r2plus1d --classify.network.layout mmaction2 \
        --data.path UCF-101 --data.lists ucfTrainTestlist

R(2+1)D (arXiv 1711.11248) with VMZ's recipe of fine-tuning: 32 frames in a row, 8 epochs of
100,000 clips, batches of 32, rates a tenth after every second epoch, a decay of 0.005. Judged by
the centres of ten clips. `--data.split 2` and 3 are the other splits; `--classify.norms first` is
TSN's partial batch norm, `--classify.freeze '^(stem|res[234])'` trains the last stage and the
classifier alone. The weights are mmaction2's, which are of a variant of its own; from a run of
`fit` leave the layout out.

Expected 96.8 % (RGB, the paper's mean of three splits, from Kinetics).
Hardware 8 GPUs, 4 clips each.
Measured not yet.
"""

from train.config import Experiment, Log
from train.optimizer import SGD
from train.video.classify import VideoStage
from train.video.crops import Resized
from train.video.networks import Named
from train.video.sampling import Window
from train.video.sources import Ucf101

EPOCH = 100_000 // 32


def get_config() -> Experiment:
  return Experiment(
    name="ucf101_r2plus1d_34",
    data=Ucf101(short_side=128, num_threads=16),
    stages={
      "classify": VideoStage(
        steps=8 * EPOCH,
        batch_size=32,
        eval_every=EPOCH,
        checkpoint_every=1000,
        dtype="bfloat16",
        network=Named(name="r2plus1d_34", dropout=0.0),
        sampling=Window(frames=32, stride=1),
        crops=Resized(size=112, height=128, width=171),
        optimizer=SGD(
          learning_rate=1e-4,
          momentum=0.9,
          weight_decay=5e-3,
          schedule="step",
          decay_at=(0.25, 0.5, 0.75),
        ),
        test_views=10,
        test_crops="centre",
      ),
    },
    log=Log(every=50),
  )
