"""From a data set to batches: decoded images, the identity sampler, augmentation."""
