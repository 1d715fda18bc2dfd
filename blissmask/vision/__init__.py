"""The networks that ship with the package, and how faces, bodies and classes are found with them.

From the bottom up: ``session`` runs a network and ``cores`` shares the processor; ``regions`` and ``photo`` cut crops;
``faces/`` and ``bodies/`` find people, ``scene`` keeps who is in a photo; ``class_map`` and ``evidence`` decide what
every pixel shows; ``guided_filter`` moves the edges of masks onto the edges of the photo.

Where the numbers come from. Every constant names one of these beside it:

- MediaPipe: the graph that Google publishes with the network (``mediapipe/modules`` of its repository).
- Measured: the comment gives the figure and what it was measured on.
- By eye: chosen while looking at the results on the design photos. These are seven photos with outlined people (four of
  COCO, three of OCHuman, 19 people) and about a dozen portraits and group photos without outlines. A dozen other
  weightings of the votes moved the mean IoU per person by at most 0.03, most by less than 0.005, so the exact weights
  matter little. ``tests/benchmarks/masks.py`` measures a change on labelled photos.
"""
