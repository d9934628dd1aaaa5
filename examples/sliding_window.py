"""Slide VGG-16 over a larger image: one pass of the converted network against 36 crops.

    python examples/sliding_window.py

The three fully connected layers become convolutions (F = 7, 1, 1), so a 384x384 image gives 6x6x1000 scores
at once. The weights are random (He's initialisation, seeded): what is compared is arithmetic and time.
It takes about half a minute on two cores, and 0.8 GB.
"""

import time

import numpy as np

import cyconv

CROP, IMAGE, STRIDE = 224, 384, 32
BATCH = 6  # crops at a time: kinder to the crops than one by one, as each batch reads the weights once


def windows(volume, size, stride):
    """All square windows of a (C, H, W) volume, row by row: (36, C, size, size)."""
    starts = range(0, volume.shape[1] - size + 1, stride)
    return np.stack([volume[:, y : y + size, x : x + size] for y in starts for x in starts])


def relative_difference(a, b, axis=-1):
    """Norm of the difference over the norm of `b`."""
    return np.linalg.norm(a - b, axis=axis) / np.linalg.norm(b, axis=axis)


def main():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((3, IMAGE, IMAGE), dtype=np.float32)
    model = cyconv.models.vgg16(rng=rng).eval()
    converted = cyconv.convert.fully_convolutional(model, (3, CROP, CROP))
    flatten = next(i for i, layer in enumerate(model) if isinstance(layer, cyconv.Flatten))
    trunk, classifier, sliding = model[:flatten], model[flatten:], converted[flatten:]
    print(f"{cyconv.backend} backend, {cyconv.get_num_threads()} threads")
    model(image[:, :CROP, :CROP])  # touch all memory once before the clock runs

    begin = time.perf_counter()
    volume = trunk(image)
    scores = sliding(volume)
    one_pass = time.perf_counter() - begin
    print(f"one pass: {image.shape} -> {volume.shape} -> {scores.shape}")

    crops = windows(image, CROP, STRIDE)
    begin = time.perf_counter()
    volumes = np.concatenate([trunk(crops[n : n + BATCH]) for n in range(0, len(crops), BATCH)])
    crop_scores = np.concatenate([classifier(volumes[n : n + BATCH]) for n in range(0, len(crops), BATCH)])
    all_crops = time.perf_counter() - begin
    print(f"{len(crops)} crops: {crops.shape} -> {volumes.shape} -> {crop_scores.shape}")

    scores = scores.reshape(len(scores), -1).T  # (36, 1000), in the order of the crops
    cut = windows(volume, 7, 1)
    on_windows = classifier(cut)
    print("\nclassifier, the same 36 windows of the volume: convolutions against fully connected layers")
    print(
        f"  max difference {np.abs(scores - on_windows).max():.1e}, scores up to {np.abs(scores).max():.2f}"
    )

    print("\nwhole network, one pass against crops (a crop has zeros where the image has pixels)")
    places = relative_difference(volumes, cut, axis=1).mean(axis=0)  # (7, 7) of the volume
    ring = np.ones((7, 7), bool)
    ring[1:-1, 1:-1] = False
    print(f"  volume, centre of the 7x7 (sees no border): relative difference {places[3, 3]:.1e}")
    print(
        f"  volume, inner 5x5 without the centre:       {(places[1:-1, 1:-1].sum() - places[3, 3]) / 24:.3f}"
    )
    print(f"  volume, outer ring:                         {places[ring].mean():.3f}")
    differences = relative_difference(scores, crop_scores)
    print(
        f"  scores: relative difference {differences.mean():.3f} on average over the positions "
        f"({differences.min():.3f} to {differences.max():.3f})"
    )

    print(
        f"\ntime: one pass {one_pass:.2f} s, {len(crops)} crops {all_crops:.2f} s: {all_crops / one_pass:.1f} times"
    )
    average, crop_average = scores.mean(axis=0), crop_scores.mean(axis=0)
    print("\nscores averaged over the positions")
    for name, values in (("one pass", average), ("crops", crop_average)):
        best = np.argsort(-values)[:5]
        print(f"  {name:8s} " + ", ".join(f"class {k}: {values[k]:.3f}" for k in best))
    print(f"  relative difference {relative_difference(average, crop_average):.3f}")


if __name__ == "__main__":
    main()
