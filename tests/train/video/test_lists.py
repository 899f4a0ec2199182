"""The lists of data sets of videos, as they are published, and what can be wrong with them."""

import json

import numpy as np
import pytest

from train.errors import BadInput
from train.video.sources import Hmdb51, Kinetics, Something, Ucf101, VideoList


@pytest.fixture
def root(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "memory"))
  (tmp_path / "videos").mkdir()
  return tmp_path / "videos"


@pytest.fixture
def written(tmp_path):
  """Writes a list beside the videos; a list of lines, a string, or what JSON has."""

  def write(name, content, *, end="\n"):
    path = tmp_path / "lists" / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, list) and content and isinstance(content[0], str):
      content = end.join(content) + end
    path.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())
    return str(path)

  return write


def listed(source):
  """The names of the classes, and of each split the entries by their names under the root."""
  listing = source.listed()
  entries = {
    split: [(entry.path.relative_to(listing.root).as_posix(), entry.label) for entry in of]
    for split, of in listing.splits.items()
  }
  return list(listing.class_names), entries


UCF = {
  "classInd.txt": ["1 ApplyEyeMakeup", "2 ApplyLipstick", "10 Bowling", ""],
  "trainlist01.txt": [
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1",
    "Bowling/v_Bowling_g08_c02.avi 10",
    "ApplyLipstick/v_ApplyLipstick_g08_c01.avi 2",
  ],
  "testlist01.txt": ["Bowling/v_Bowling_g01_c01.avi", "ApplyLipstick/v_ApplyLipstick_g01_c01.avi"],
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ucf101(root, written, tmp_path, end):
  for name, lines in UCF.items():
    written(name, lines, end=end)
  written("trainlist02.txt", ["Bowling/x.avi 3"])
  written("testlist02.txt", ["Bowling/y.avi"])
  source = Ucf101(path=str(root), lists=str(tmp_path / "lists"))
  assert listed(source) == (
    ["ApplyEyeMakeup", "ApplyLipstick", "Bowling"],  # by their numbers
    {
      "train": [
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", 0),
        ("Bowling/v_Bowling_g08_c02.avi", 2),
        ("ApplyLipstick/v_ApplyLipstick_g08_c01.avi", 1),
      ],
      "test": [
        ("Bowling/v_Bowling_g01_c01.avi", 2),
        ("ApplyLipstick/v_ApplyLipstick_g01_c01.avi", 1),
      ],
    },
  )
  _, second = listed(Ucf101(path=str(root), lists=str(tmp_path / "lists"), split=2))
  assert second == {"train": [("Bowling/x.avi", 2)], "test": [("Bowling/y.avi", 2)]}


@pytest.mark.parametrize(
  ("name", "lines", "message"),
  [
    ("classInd.txt", ["1 A", "B"], r"classInd\.txt: line 2 is 'B'; it should be NUMBER CLASS"),
    ("classInd.txt", ["1 A", "", "two B"], r"classInd\.txt: line 3 is 'two B'; it should be NUMB"),
    ("classInd.txt", [""], r"classInd\.txt: empty; it should list"),
    ("classInd.txt", None, r"classInd\.txt: can't be read \(No such file or directory\)"),
    ("trainlist01.txt", ["Golf/x.avi 1"], r"trainlist01\.txt: line 1: the class 'Golf' is none of"),
    ("testlist01.txt", ["Bowling/x.avi", "x.avi"], r"testlist01\.txt: line 2: the class 'x.avi'"),
    ("testlist01.txt", None, r"testlist01\.txt: can't be read"),
  ],
)
def test_wrong_lists_of_ucf101(root, written, tmp_path, name, lines, message):
  for other, content in UCF.items():
    written(other, content)
  (tmp_path / "lists" / name).unlink()
  if lines is not None:
    written(name, lines)
  one_line(Ucf101(path=str(root), lists=str(tmp_path / "lists")), message)


def one_line(source, message):
  with pytest.raises(BadInput, match=message) as raised:
    source.open()
  assert "\n" not in str(raised.value)


HMDB = {
  "brush_hair_test_split1.txt": [
    "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 ",
    "Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np2_le_goo_3.avi 2 ",
    "Blonde_being_brushed_brush_hair_f_nm_np2_ri_med_0.avi 0 ",
  ],
  "wave_test_split1.txt": ["21_wave_u_nm_np1_fr_goo_5.avi 2 ", "50_FIRST_DATES_wave_u.avi 1 "],
}


def test_hmdb51(root, written, tmp_path):
  for name, lines in HMDB.items():
    written(name, lines)
  written("wave_test_split2.txt", ["other.avi 1 "])
  assert listed(Hmdb51(path=str(root), lists=str(tmp_path / "lists"))) == (
    ["brush_hair", "wave"],
    {
      "train": [
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", 0),
        ("wave/50_FIRST_DATES_wave_u.avi", 1),
      ],
      "test": [
        ("brush_hair/Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np2_le_goo_3.avi", 0),
        ("wave/21_wave_u_nm_np1_fr_goo_5.avi", 1),
      ],
    },
  )


def test_wrong_lists_of_hmdb51(root, written, tmp_path):
  source = Hmdb51(path=str(root), lists=str(tmp_path / "lists"))
  one_line(source, r"data\.lists: no folder '.*lists'; Hmdb51 reads videos from it")
  written("readme.txt", ["hello"])
  one_line(source, r"data\.lists: no files \*_test_split1\.txt in ")
  for line in ("a.avi 3", "a.avi"):
    written("wave_test_split1.txt", ["b.avi 1 ", line])
    one_line(source, rf"wave_test_split1\.txt: line 2 is '{line}'; it should be NAME and 0, 1 or 2")
  written("wave_test_split1.txt", ["b.avi 2 "])
  one_line(source, "data: the split train has no video")


HEADER = "label,youtube_id,time_start,time_end,split"


def test_kinetics(root, written):
  train = written(
    "train.csv",
    [
      HEADER,
      "testifying,---QUuC4vJs,84,94,train",
      'washing dishes,"--33Lscn6sk",0,10,train',
      "testifying,-0BlTcaDIY8,7.0,17.0,train",
      "abseiling,gone_______,1,11,train",
    ],
    end="\r\n",
  )
  validation = written("val.csv", [HEADER, "washing dishes,--56QUhyDQM,185,195,validate"])
  for name in (
    "testifying/---QUuC4vJs_000084_000094.mp4",  # its class's folder
    "testifying/---QUuC4vJs_000084_000094.wav",  # not the video
    "testifying/---QUuC4vJs_000001_000011.mp4",  # another part of it
    "train/--33Lscn6sk.mkv",
    "-0BlTcaDIY8_000007_000017.webm",
    "val/x/--56QUhyDQM_000185_000195.mp4",
  ):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("")
  (root / "elsewhere").mkdir()
  (root / "val").rename(root.parent / "val")
  (root / "val").symlink_to(root.parent / "val")  # on another disk
  names, splits = listed(Kinetics(path=str(root), train_csv=train, eval_csv=validation))
  assert names == ["abseiling", "testifying", "washing dishes"]
  assert splits == {
    "train": [
      ("testifying/---QUuC4vJs_000084_000094.mp4", 1),
      ("train/--33Lscn6sk.mkv", 2),
      ("-0BlTcaDIY8_000007_000017.webm", 1),
      ("gone________000001_000011.mp4", 0),
    ],
    "validation": [("val/x/--56QUhyDQM_000185_000195.mp4", 2)],
  }


@pytest.mark.parametrize(
  ("lines", "message"),
  [
    (
      [HEADER, "a,b,1,2,x", "a,b,one,2,x"],
      r"val\.csv: line 3: from one to 2; it should be seconds",
    ),
    ([HEADER, "a,b,1"], r"val\.csv: line 2: from 1 to None; it should be seconds"),
    ([HEADER, "a,b,inf,nan"], r"val\.csv: line 2: from inf to nan; it should be seconds"),
    ([HEADER, ",b,1,2,x"], r"val\.csv: line 2: a label and a youtube_id are needed"),
    ([HEADER, "a,,1,2,x"], r"val\.csv: line 2: a label and a youtube_id are needed"),
    ([HEADER, "golf,b,1,2,x"], r"val\.csv: line 2: the class 'golf' is none of the 1 that"),
    ([HEADER, '"' + "x" * 200_000], r"val\.csv: line 1: field larger than field limit"),
    ([HEADER], r"val\.csv: a header alone; it should list videos"),
    (
      ["youtube_id,time_start,time_end,split", "b,1,2,test"],
      r"val\.csv: the first line .* label, ",
    ),
    (["a,b,1,2,x"], r"val\.csv: the first line should name the columns label, youtube_id, time_st"),
    ([""], r"val\.csv: the first line should name"),
  ],
)
def test_wrong_lists_of_kinetics(root, written, lines, message):
  train, validation = written("train.csv", [HEADER, "a,b,1,2,x"]), written("val.csv", lines)
  one_line(Kinetics(path=str(root), train_csv=train, eval_csv=validation), message)


LABELS = {"Putting something on something": "1", "Closing something": "0"}


def video(number, template):
  return {"id": number, "label": "...", "template": template, "placeholders": ["a potato"]}


def test_something(root, written):
  labels = written("labels.json", LABELS)
  train = written(
    "train.json",
    [video("78687", "Putting [something] on [something]"), video("42326", "Closing [something]")],
  )
  validation = written("validation.json", [video("74225", "Closing [something]")])
  (root / "42326.mp4").write_text("")
  source = Something(path=str(root), train_json=train, eval_json=validation, labels_json=labels)
  assert listed(source) == (
    ["Closing something", "Putting something on something"],
    {"train": [("78687.webm", 1), ("42326.mp4", 0)], "validation": [("74225.webm", 0)]},
  )


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("labels.json", "{", r"labels\.json: not JSON \(.*\)"),
    ("labels.json", [1], r"""labels\.json: it should be \{"TEMPLATE": "NUMBER", \.\.\.\}"""),
    ("labels.json", 1, r"labels\.json: it should be"),
    ("labels.json", {"Closing something": "first"}, r"labels\.json: it should be"),
    ("labels.json", {"Closing something": None}, r"labels\.json: it should be"),
    (
      "train.json",
      {"78687": "Closing something"},
      r"""train\.json: it should be \[\{"id": \.\.\.,""",
    ),
    ("train.json", [{"id": "1"}], r"train\.json: it should be"),  # as those of the test are
    ("train.json", [{"id": "1", "template": 3}], r"train\.json: it should be"),
    ("train.json", 1, r"train\.json: it should be"),
    (
      "train.json",
      [{"id": "1", "template": "Golf"}],
      r"train\.json: video 1: the class 'Golf' is n",
    ),
    ("train.json", [], r"data: the split train has no video"),
  ],
)
def test_wrong_lists_of_something(root, written, name, content, message):
  files = {"labels.json": LABELS, "train.json": [video("1", "Closing [something]")]}
  labels, train = (written(n, x) for n, x in (files | {name: content}).items())
  validation = written("validation.json", [video("2", "Closing [something]")])
  one_line(
    Something(path=str(root), train_json=train, eval_json=validation, labels_json=labels), message
  )


@pytest.mark.parametrize(
  ("lines", "there", "found"),
  [
    (["a/x.avi 0", "b y.mp4\t12", "c.mkv  3"], (), [("a/x.avi", 0), ("b y.mp4", 12), ("c.mkv", 3)]),
    (["some/video 120 0", "my video 9 1"], (), [("some/video", 0), ("my video", 1)]),  # frames
    (["take 1 0", "take 2 1"], ("take 1", "take 2"), [("take 1", 0), ("take 2", 1)]),
    (["take 1 0", "x.avi 1"], (), [("take 1", 0), ("x.avi", 1)]),
    (["\ufeffa.avi 0", "", " b.avi 1 "], (), [("a.avi", 0), ("b.avi", 1)]),
  ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_numbered(root, written, lines, there, found, end):
  for name in there:
    (root / name).mkdir()
  train, other = written("train.txt", lines, end=end), written("val.txt", ["z.avi 14"])
  names, splits = listed(VideoList(path=str(root), train_list=train, eval_list=other))
  assert splits == {"train": found, "validation": [("z.avi", 14)]}
  assert names == [str(i) for i in range(15)]


def test_names_of_classes(root, written):
  lists = {"train_list": written("train.txt", ["x.avi 1"]), "eval_list": written("v", ["y.avi 0"])}
  names = written("names.txt", ["riding a bike", "", "abseiling"], end="\r\n")
  found, _ = listed(VideoList(path=str(root), **lists, class_names=names))
  assert found == ["riding a bike", "abseiling"]


@pytest.mark.parametrize(
  ("lines", "message"),
  [
    (["a.avi 0", "", "b.avi"], r"train\.txt: line 3 is 'b.avi'; it should be PATH LABEL, the lab"),
    (["a.avi one"], r"train\.txt: line 1 is 'a.avi one'; it should be PATH LABEL"),
    (["a.avi -1"], r"train\.txt: line 1 is 'a.avi -1'; it should be PATH LABEL"),
    (["a.avi 0", "b.avi 2"], r"data: b\.avi has the label 2; the classes are 0 to 1"),
    (["a.avi 0", "../b.avi 1"], r"data: .*/videos/\.\./b\.avi is not in .*/videos; set data\.path"),
    (["/elsewhere/b.avi 1"], r"data: /elsewhere/b\.avi is not in .*/videos; set data\.path to a"),
    (["a.avi 0", "./a.avi 1"], r"data: a\.avi is listed in train as class 0 and as 1; a video has"),
    (
      ["z.avi 0", "a.avi 0"],
      r"data: train and validation both have z\.avi \(1 such\); list",
    ),
    ([""], r"train\.txt: empty; it should list videos"),
  ],
)
def test_wrong_lists_of_videos(root, written, lines, message):
  lists = {"train_list": written("train.txt", lines), "eval_list": written("v.txt", ["z.avi 0"])}
  one_line(VideoList(path=str(root), **lists, class_names=written("n.txt", ["a", "b"])), message)


def test_lists_that_are_not_there(root, tmp_path):
  one_line(VideoList(path=str(root)), r"data\.train_list: no file ''; VideoList needs it")
  one_line(Kinetics(path=str(root)), r"data\.train_csv: no file ''; Kinetics needs it")
  one_line(Something(path=str(root)), r"data\.train_json: no file ''; Something needs it")
  one_line(Ucf101(path=str(root)), r"data\.lists: no folder ''; Ucf101")
  one_line(VideoList(path=str(tmp_path / "no")), r"data\.path: no folder '.*/no'; VideoList reads")
  gone = str(tmp_path / "gone.txt")
  one_line(VideoList(path=str(root), train_list=gone), r"data\.train_list: no file '.*gone\.txt'")
  (tmp_path / "latin.txt").write_bytes(b"caf\xe9.avi 0\n")
  latin = str(tmp_path / "latin.txt")
  one_line(VideoList(path=str(root), train_list=latin), r"latin\.txt: can't be read \(not text in")


def test_absolute_paths_under_the_root(root, written):
  """And what is listed twice, however it is written, counts once."""
  for name in ("a", "b"):
    np.save(root / f"{name}.npy", np.zeros((2, 4, 4, 3), np.uint8))
  train = written("train.txt", [f"{root}/a.npy 1", "a.npy 1", "x/../a.npy 1"])
  lists = {"train_list": train, "eval_list": written("v.txt", ["b.npy 0"])}
  splits = VideoList(path=str(root), **lists).open()
  assert splits["train"].names == ("a.npy",) and splits["train"].labels.tolist() == [1]
