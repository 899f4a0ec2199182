"""python -m train VERB ...: the command line."""

import errno
import logging
import os
import sys
import warnings
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

from train import errors

HELP = """\
usage: python -m train VERB ...

  fit CONFIG --workdir DIR [--dotted.field value ...]
                                train, resume, or see that all is done
  evaluate DIR                  figures on the held-out split
  sample DIR [--num N ...]      draw images or sound from the priors
  reconstruct DIR FILE ...      encode and decode pictures or sounds
  convert DIR SOUND ... --speaker NAME
                                the same sounds in another's voice
  upsample DIR IMAGE ...        keep pictures' upper codes, draw their details
  inpaint DIR IMAGE ...         draw a part of pictures, given the rest
  swap DIR IMAGE ...            pictures' contents in pictures' styles (ML-VAE)
  score DIR --classifier DIR    judge samples, rejection sampling included
  predict DIR VIDEO ...         name what happens in videos, show what the network saw
  predict-frames DIR [VIDEO]    the frames that follow a video's first ones, drawn in codes
  reencode FOLDER --output COPY
                                videos anew, smaller and quick to seek in
  import NAME FILE --workdir DIR
                                published weights of a network for clips, as a run that is done
  models [NAME ...]             the networks for clips: sizes, costs, whose weights are read
  recommend DIR --user ID       items for a user, a newcomer (--user_items), or --all in a file
  compare DIR DIR ...           runs of recommenders, user by user, with intervals

`python -m train VERB --help` says more of each.

Exit status: 0 done; 1 failed (the last good checkpoint stands); 2 bad input (one line says what;
nothing was written to the run's folder); 75 stopped by SIGTERM after saving (the same command
continues); 130 interrupted from the keyboard.
"""


def main(args: list[str]) -> int:
  """Runs a verb and returns the exit status."""
  if not args or args[0] in ("-h", "--help"):
    print(HELP, end="")
    return errors.DONE if args else errors.BAD_INPUT
  logging.getLogger("absl").setLevel(logging.ERROR)
  warnings.showwarning = show_warning
  try:
    from train.verbs import VERBS

    if args[0] not in VERBS:
      raise errors.BadInput(f"unknown verb {args[0]!r}; known: {', '.join(VERBS)}")
    VERBS[args[0]].read([_expanded(arg) for arg in args[1:]]).run()
    return errors.DONE
  except errors.BadInput as error:
    print(f"error: {error}", file=sys.stderr)
    return errors.BAD_INPUT
  except errors.Failed as error:
    print(f"failed: {error}", file=sys.stderr)
    return errors.FAILED
  except errors.Preempted as error:
    print(f"preempted: {error}; the same command continues", file=sys.stderr)
    return errors.PREEMPTED
  except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (Python flushes it on exit)
    return errors.DONE
  except OSError as error:
    if error.errno != errno.ENAMETOOLONG:
      raise
    print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
    return errors.BAD_INPUT
  except MemoryError as error:
    print(f"failed: out of memory: {' '.join(str(error).split())}", file=sys.stderr)
    return errors.FAILED
  except KeyboardInterrupt:
    print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
    return 130


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
  """Prints a warning in a line; of the compile cache the first alone: JAX has one a program."""
  print(f"warning: {message}", file=sys.stderr)
  if "persistent compilation cache" in str(message):
    warnings.filterwarnings("ignore", ".*persistent compilation cache")


def _expanded(arg: str) -> str:
  """An argument with a leading ~ as the home folder, where a shell has left it: quoted, after =."""
  option, equals, value = arg.partition("=") if arg.startswith("--") else ("", "", arg)
  return option + equals + os.path.expanduser(value)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
