"""scikit-learn's classifiers on plain pixels, to be held against the network that learns from the same images."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.downstream.training import Examples
from stages.plumbing.errors import UserError

LEAST_CLASSES = 2
MOST_ITERATIONS = 1000  # of logistic regression; 18 were enough for digits, 109 for red cells of 32 pixels
MARGIN_PENALTY = 0.1  # of the SVM: on 1,000 digits 1.3 points better than scikit-learn's 1
LINEAR = ("logistic_regression", "linear_svm")


def predict_labels(name: str, shown: Examples, test_images: Tensor, seed: int) -> NDArray[np.int64]:
    """Classes (n,) of the test images, as one of CLASSIFIERS predicts them that learns the others' labels.

    They read all pixels of an image in a row, scaled to 0..1, and learn the likeliest class of each image. Linear ones
    read these in other coordinates (`_rotated`). Weights of images count in the fit of all but `nearest_neighbours`,
    whose answer is the label of the nearest image.

    Args:
        name: one of CLASSIFIERS.
        shown: what is learned from, on the CPU.
        test_images: uint8 (n, C, H, W), at least one.
        seed: of the draws of a random forest and the order in which the SVM visits images.

    Raises:
        UserError: all images are of one class, so that there is nothing to tell apart.
    """
    from sklearn.utils.validation import has_fit_parameter

    labels = shown.labels.numpy()
    present = len(np.unique(labels))
    if present < LEAST_CLASSES:
        raise UserError(
            f"{name} needs labelled images of at least {LEAST_CLASSES} classes, but its {len(labels)} images are of "
            f"{present}: raise train_downstream.scikit_learn.images, or label images of other classes"
        )
    model = CLASSIFIERS[name](seed)
    counted = {"sample_weight": shown.weights.numpy()} if has_fit_parameter(model, "sample_weight") else {}
    seen, unseen = _pixels(shown.images), _pixels(test_images)
    if name in LINEAR:
        seen, unseen = _rotated(seen, unseen)
    model.fit(seen, labels, **counted)
    return model.predict(unseen).astype(np.int64)


def _pixels(images: Tensor) -> NDArray[np.float32]:
    """Rows (N, C * H * W) of uint8 images (N, C, H, W), in 0..1."""
    return (images.flatten(1) / 255).numpy()


def _rotated(seen: NDArray[np.float32], unseen: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows in coordinates along the principal components of those seen, about their mean.

    What a linear classifier can tell apart stays the same, and it is found much sooner: 1,000 red cells of 32 pixels in
    colour took the SVM 43 s, at the end of which it had not converged, and take it 1.
    """
    mean = seen.mean(axis=0)
    directions = np.linalg.svd(seen - mean, full_matrices=False)[2].T
    return (seen - mean) @ directions, (unseen - mean) @ directions


def _logistic_regression(_seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=MOST_ITERATIONS)


def _linear_svm(seed: int) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(C=MARGIN_PENALTY, random_state=seed)


def _random_forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed)


def _nearest_neighbours(_seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(n_neighbors=1)  # on 50 and 200 digits 3 to 9 points better than 3 and 5


# name -> an untrained classifier of scikit-learn, by its seed
CLASSIFIERS: Mapping[str, Callable[[int], Any]] = {
    "logistic_regression": _logistic_regression,
    "linear_svm": _linear_svm,
    "random_forest": _random_forest,
    "nearest_neighbours": _nearest_neighbours,
}
