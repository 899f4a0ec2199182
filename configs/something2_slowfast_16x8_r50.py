"""Something-Something v2: SlowFast 16x8, R50, fine-tuned from Kinetics.

    python -m train import slowfast_8x8_r50 SLOWFAST_8x8_R50.pyth --workdir runs/slowfast
    python -m train fit something2_slowfast_16x8_r50 --workdir runs/something \
        --classify.start_from runs/slowfast --data.path VIDEOS --data.labels_json LABELS.json \
        --data.train_json TRAIN.json --data.eval_json VALIDATION.json

PySlowFast's recipe (arXiv 1812.03982): a frame of each of 64 parts of a video, no flips, shorter
sides likelier to be small; 22 epochs, rates a tenth from epochs 14 and 18 on. Judged by one clip,
the middles of the parts, its centre, by softmaxes of each window. Norms here take the statistics
of all 16 clips, PySlowFast's of 8.

Expected 63.0 % top-1 (PySlowFast).
Hardware 8 GPUs, 2 clips each.
Measured not yet.
"""

from train.config import Experiment, Log
from train.optimizer import SGD
from train.video.classify import VideoStage
from train.video.crops import Jitter
from train.video.networks import Named
from train.video.sampling import Segments
from train.video.sources import Something

EPOCH = 168_913 // 16


def get_config() -> Experiment:
  return Experiment(
    name="something2_slowfast_16x8_r50",
    data=Something(num_threads=16),
    stages={
      "classify": VideoStage(
        steps=22 * EPOCH,
        batch_size=16,
        eval_every=EPOCH,
        checkpoint_every=2000,
        dtype="bfloat16",
        network=Named(name="slowfast_8x8_r50", head="dense"),
        sampling=Segments(frames=64),
        crops=Jitter(size=224, test_size=256, sides=(256, 320), inverse=True, flip=0.0),
        optimizer=SGD(
          learning_rate=0.03,
          momentum=0.9,
          nesterov=True,
          weight_decay=1e-6,
          decay_norms=False,
          schedule="step",
          decay_at=(14 / 22, 18 / 22),
          warmup_steps=EPOCH // 5,
          warmup_from=1e-4,
        ),
        precise_norm=200,
        test_views=1,
        test_crops="centre",
      ),
    },
    log=Log(every=50),
  )
