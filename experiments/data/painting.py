"""Textures and blending for the videos of the synthetic data sets."""
import cv2
import numpy as np


def texture(rng, size, wavelength, contrast):
    """Smooth noise of two colours, `contrast` apart in each channel: uint8 [size, size, 3]. The edges wrap around."""
    noise = cv2.GaussianBlur(np.tile(rng.standard_normal((size, size)), (3, 3)), (0, 0), wavelength / 4)
    noise = noise[size:2 * size, size:2 * size]
    share = (1 / (1 + np.exp(-4 * noise / noise.std())))[..., None]
    colour = rng.uniform(0, 255, 3)
    other = np.where(colour < 128, colour + contrast, colour - contrast)
    return (share * colour + (1 - share) * other).astype(np.uint8)


def blend(below, above, coverage):
    """uint8 [h, w, 3] twice, and the coverage of the second, uint8 [h, w, 1]: 255 shows it alone."""
    coverage = coverage.astype(np.uint16)
    return ((coverage * above + (255 - coverage) * below + 127) // 255).astype(np.uint8)
