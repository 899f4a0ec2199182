"""Weights of networks for clips as torchvision, pytorchvideo, PySlowFast and others have them."""

from vqlab.interop.video.convert import convert, layout_of, to_torch, video_model
from vqlab.interop.video.layouts import LAYOUTS

__all__ = ["LAYOUTS", "convert", "layout_of", "to_torch", "video_model"]
