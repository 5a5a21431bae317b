"""The task: one round of training at one site, on the site's own images.

    python trainer.py --shard SHARD.npz --weights BEFORE.npy --save AFTER.npy --seed 1

Softmax regression by mini-batch gradient descent. It knows nothing of farspawn, as any program may that farspawn
starts: what it has to say goes to standard output, and its exit code says whether the weights are there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EPOCHS = 3
BATCH = 32
LEARNING_RATE = 0.1

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def main() -> None:
    """Load, train, save."""
    parser = argparse.ArgumentParser(description="One round of training at one site.")
    parser.add_argument("--shard", type=Path, required=True, help="the site's images and labels")
    parser.add_argument("--weights", type=Path, required=True, help="where to begin")
    parser.add_argument("--save", type=Path, required=True, help="where to leave the trained weights")
    parser.add_argument("--seed", type=int, required=True, help="for the order of the images")
    arguments = parser.parse_args()

    with np.load(arguments.shard) as shard:
        images, labels = shard["images"], shard["labels"]
    weights = np.load(arguments.weights)
    shuffle = np.random.default_rng(arguments.seed)
    for epoch in range(1, EPOCHS + 1):
        weights = one_epoch(weights, images, labels, shuffle)
        print(f"epoch {epoch} loss {loss(weights, images, labels):.4f}", flush=True)
    np.save(arguments.save, weights)


def one_epoch(weights: Floats, images: Floats, labels: Labels, shuffle: np.random.Generator) -> Floats:
    """Return the weights after each image was looked at once."""
    order = shuffle.permutation(len(labels))
    for batch in np.array_split(order, max(1, len(labels) // BATCH)):
        error = probabilities(weights, images[batch])
        error[np.arange(len(batch)), labels[batch]] -= 1  # the gradient of the loss by the scores
        weights = weights - LEARNING_RATE * images[batch].T @ error / len(batch)
    return weights


def loss(weights: Floats, images: Floats, labels: Labels) -> float:
    """Return the mean cross-entropy."""
    right = probabilities(weights, images)[np.arange(len(labels)), labels]
    return float(-np.log(right).mean())


def probabilities(weights: Floats, images: Floats) -> Floats:
    """Return the softmax of each image's scores, one row an image and one column a digit."""
    scores = images @ weights
    exponentials: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    total: Floats = exponentials.sum(axis=1, keepdims=True)
    return exponentials / total


if __name__ == "__main__":
    main()
