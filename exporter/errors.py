"""Why an image or a bundle is refused. The whole tree stands in index.errors."""

from index.errors import InvalidInput, PecaError


class ImageRefused(InvalidInput):
    """An image cannot be used; the subclasses say why."""


class ImageEmpty(ImageRefused):
    """There is no byte in it."""


class NotAnImage(ImageRefused):
    """It is not an image of a format that is read here."""


class ImageTruncated(ImageRefused):
    """It begins as an image, and its data is cut short or damaged."""


class ImageTooLarge(ImageRefused):
    """It has more pixels than allowed."""


class ImageTooManyParts(ImageRefused):
    """It is made of more scans, segments, chunks, strips or tiles than a picture is."""


class ImageAnimated(ImageRefused):
    """It holds more than one picture, so which one to search is not said."""


class ProviderUnfit(InvalidInput):
    """What was asked to run a bundle cannot: not installed, no device, no form for it, or it strays."""


class BundleInvalid(PecaError):
    """An encoder bundle is missing, damaged, tampered with or not understood."""
