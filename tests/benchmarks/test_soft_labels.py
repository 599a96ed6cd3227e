"""What probabilities tell an attacker: nothing, more or less than images alone, as it is built in here."""

import torch
from torch.nn.functional import one_hot

from benchmarks.soft_labels import attack
from tests.benchmarks.toy import make_data, make_set


def test_published_members_are_found_by_their_images_alone() -> None:
    gan_set = make_set()
    given = one_hot(gan_set.data.labels, 2).float()
    assert attack(gan_set.data.images, given, given, gan_set)["auc images"] == 1


def test_images_that_have_nothing_to_do_with_members_tell_nothing() -> None:
    strangers = make_data(seed=3)
    given = one_hot(strangers.labels, 2).float()
    aucs = attack(strangers.images, given, given, make_set())
    assert all(0.35 < auc < 0.65 for auc in aucs.values())


def test_probabilities_that_know_members_betray_them() -> None:
    """Published are copies of members and of others alike; the teacher is sure of the members' alone."""
    gan_set = make_set()
    images = torch.cat([gan_set.data.images, gan_set.test_images])
    given = one_hot(torch.cat([gan_set.data.labels, gan_set.test_labels]), 2).float()
    sure = torch.arange(len(images)) < len(gan_set.data.images)
    probabilities = torch.where(sure[:, None], given, 0.5)
    aucs = attack(images, given, probabilities, gan_set)
    assert 0.35 < aucs["auc images"] < 0.65
    assert 0.35 < aucs["auc classes"] < 0.65
    assert aucs["auc probabilities"] > 0.9
    assert aucs["auc 5 nearest"] > 0.6
