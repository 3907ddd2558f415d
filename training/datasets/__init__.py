"""Data sets on disk: reading, describing and making trees. No torch.

``tree`` says what a read tree is, ``reader`` reads one and ``describe`` counts it. ``synthetic`` writes
trees of people who do not exist: ``people`` draws who they are, ``figures`` poses them on a ``canvas``
of solids, ``cameras`` gives them a place, light and a sensor, and ``rendering`` takes the picture.
"""
