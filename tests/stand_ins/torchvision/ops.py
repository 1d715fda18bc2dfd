"""Non-maximum suppression, by the function that Ultralytics uses when torchvision is not imported."""

import torch
from ultralytics.utils.nms import TorchNMS


def nms(boxes_N4: torch.Tensor, scores_N: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the positions of the boxes that no better box overlaps by more than ``iou_threshold``, best first."""
    return TorchNMS.nms(boxes_N4, scores_N, iou_threshold)
