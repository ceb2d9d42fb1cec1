"""Images to train on: read from files that are on the machine already, or generated. Nothing is ever downloaded."""

from repro.datasets.base import Images
from repro.datasets.sources import NAMES, first_available, load_images

__all__ = ["NAMES", "Images", "first_available", "load_images"]
