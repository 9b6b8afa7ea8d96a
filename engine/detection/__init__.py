"""Detectors: from their outputs to boxes in the image, and from those to COCO's average precision."""
