"""What each verb of the command line does, once its arguments are read."""

from collections.abc import Callable

from train.verbs.contents import swap
from train.verbs.pictures import inpaint, reconstruct, sample, upsample
from train.verbs.scoring import score
from train.verbs.training import evaluate, fit

VERBS: dict[str, Callable[[list[str]], None]] = {
  "fit": fit,
  "evaluate": evaluate,
  "sample": sample,
  "reconstruct": reconstruct,
  "upsample": upsample,
  "inpaint": inpaint,
  "swap": swap,
  "score": score,
}
