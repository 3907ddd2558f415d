"""Synthetic trees that have a name: fixed, so that figures on them can be compared."""

from dataclasses import dataclass
from enum import StrEnum

from training.datasets.tree import Layout


class Preset(StrEnum):
    """The trees of ``peca synth --preset``."""

    BENCH = "bench"


@dataclass(frozen=True, slots=True)
class TreePlan:
    """The arguments of ``write_tree`` that decide what a tree holds.

    Attributes:
        layout: Its folder layout.
        identities: People in it.
        images_per_camera: Pictures of each person by each camera.
        seed: Of all that is drawn; no other preset, demo or default uses the benchmark's.
    """

    layout: Layout
    identities: int
    images_per_camera: int
    seed: int


PRESETS = {
    # 400 identities to train on (SYSU-MM01's train and val lists) and 100 to test; 12,000 pictures.
    Preset.BENCH: TreePlan(Layout.SYSU, identities=500, images_per_camera=4, seed=20_260),
}
