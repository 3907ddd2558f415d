"""Data sets on disk: reading, describing and making trees. No torch.

``tree`` says what a read tree is, ``reader`` reads one and ``describe`` counts it. ``synthetic`` writes
trees of people who do not exist:

- ``people`` draws who they are, from ``bodies``, ``garments`` and ``materials``, by ``chance``.
- ``figures`` draws one of them as solids on a ``canvas``: ``poses`` and ``skeletons`` place the joints,
  ``mannequins`` hangs solids on them, ``cloth`` paints these, ``heads`` and ``belongings`` add the rest.
- ``scenes`` draws the place, ``cameras`` the light and the sensor, and ``rendering`` takes the picture.
"""
