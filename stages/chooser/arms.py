"""Arms that fit a folder: with a pool or without, balanced or not. Pure."""

from collections.abc import Iterator

_REAL = "images: data/prepare, real: true, labels: all"
_LABELLED = {
    "real": f"{{{_REAL}, balancing: none, augment: none, settings: [{{}}]}}",
    "classic": f"{{{_REAL}, balancing: none, augment: classic, settings: [{{}}]}}",
    "randaugment": f"{{{_REAL}, balancing: none, augment: randaugment, settings: [{{}}]}}",
}
_RARE = {
    "oversampled_classic": f"{{{_REAL}, balancing: oversampling, augment: classic, settings: [{{}}]}}",
    "weighted_classic": f"{{{_REAL}, balancing: class_weights, augment: classic, settings: [{{}}]}}",
    "oversampled_randaugment": f"{{{_REAL}, balancing: oversampling, augment: randaugment, settings: [{{}}]}}",
}
_POOL = {
    "pseudo_label": (
        f"{{{_REAL}, balancing: none, augment: classic,\n"
        "     settings: [{pool_share: 0.8, teacher: ensemble}, {pool_share: 1.0, teacher: ensemble}]}"
    ),
    "fixmatch": (
        f"{{{_REAL}, balancing: none, augment: randaugment,\n"
        "     settings: [{fixmatch_threshold: 0.6, unlabelled_share: 0.5},\n"
        "                {fixmatch_threshold: 0.6, unlabelled_share: 0.75}]}"
    ),
}
_BACKBONE = "backbone: {name: tf_efficientnet_lite0, size: 96, weights: package}"
# Which of the two stands in better depends on the images and on the time that the GAN had.
_EITHER = (
    "{images: data/filter_memorized, real: false, labels: all, balancing: none, augment: classic,\n"
    "     settings: [{synthetic_share: 1.0, generator: gan}, {synthetic_share: 1.0, generator: gaussian}]}"
)
_DECAYS = (0.03, 0.1, 0.3, 1.0)


def arms(has_pool: bool, is_unbalanced: bool, half: int, pretrained: bool) -> Iterator[tuple[str, str, str]]:
    """Dotted key, value and reason of each part of params.yaml that names arms.

    half: labels of each class for the learning curve's first point; below 2 there is no curve. pretrained: whether a
    pretrained network is worth a try.
    """
    balancing = "oversampling" if is_unbalanced else "none"
    rivals = (_RARE if is_unbalanced else {name: _LABELLED[name] for name in ("classic", "randaugment")}) | (
        _POOL if has_pool else {}
    )
    asked = ["gan_classic"]
    if pretrained:
        rivals |= {"transfer": _transfer(_REAL, balancing, [f"weight_decay: {decay}" for decay in _DECAYS])}
        asked += ["gan_transfer"]
    chosen = (
        _LABELLED | rivals if not is_unbalanced else {name: _LABELLED[name] for name in ("real", "classic")} | rivals
    )
    has_curve = half >= 2 and not is_unbalanced
    if has_curve:
        few = _REAL.replace("labels: all", f"labels: {{per_class: {half}}}")
        chosen = chosen | {f"classic_{half}": f"{{{few}, balancing: none, augment: classic, settings: [{{}}]}}"}
    chosen |= _generated(balancing)
    if pretrained:
        both = [f"synthetic_share: {share}, weight_decay: {decay}" for share in (0.25, 0.5) for decay in _DECAYS[1:3]]
        gan = "images: data/filter_memorized/gan, real: true, labels: all"
        chosen |= {"gan_transfer": _transfer(gan, balancing, both)}
    if is_unbalanced:
        chosen |= {"gan_balanced": _of("gan", True, "synthetic", "classic", (0.25, 0.5, 0.75))}
    lines = "".join(f"\n  {name}:\n    {arm}" for name, arm in chosen.items())
    pool = "a pool is there" if has_pool else "there is no pool, and so no pseudo-labels and no FixMatch"
    rare = "; classes are unbalanced, and what helps rare ones is among the rivals" if is_unbalanced else ""
    large = "; images of 32 pixels and more, which a pretrained network can read" if pretrained else ""
    yield "train_downstream.arms", lines, f"chosen: {pool}{rare}{large}"
    yield "evaluate.augment.arms", f"[{', '.join(asked)}]", "chosen: generated images beside each kind of classifier"
    for question in ("augment", "stand_in"):
        yield f"evaluate.{question}.rivals", f"[{', '.join(rivals)}]", f"chosen: {pool}"
    yield "evaluate.stand_in.arms", "[synthetic_only]", "chosen: validation takes the GAN's images or the Gaussian's"
    curve = f"[classic_{half}, classic]" if has_curve else "[]"
    yield (
        "evaluate.learning_curve",
        curve,
        f"chosen: {'half of the labels' if has_curve else 'too few labels, or unbalanced'}",
    )
    if is_unbalanced:
        yield "evaluate.measure", "balanced_accuracy", "chosen: classes are unbalanced, and each counts the same"


def _generated(balancing: str) -> dict[str, str]:
    return {
        "gan_classic": _of("gan", True, balancing, "classic", (0.25, 0.5, 0.75)),
        "gaussian_classic": _of("gaussian", True, balancing, "classic", (0.25, 0.5, 0.75)),
        "synthetic_only": _EITHER,
    }


def _transfer(images: str, balancing: str, settings: list[str]) -> str:
    alternatives = ", ".join(f"{{{each}}}" for each in settings)
    return (
        f"{{{images}, balancing: {balancing}, augment: classic,\n     {_BACKBONE},\n     settings: [{alternatives}]}}"
    )


def _of(generator: str, real: bool, balancing: str, augment: str, shares: tuple[float, ...]) -> str:
    settings = ", ".join(f"{{synthetic_share: {share}}}" for share in shares)
    return (
        f"{{images: data/filter_memorized/{generator}, real: {str(real).lower()}, labels: all, "
        f"balancing: {balancing},\n     augment: {augment}, settings: [{settings}]}}"
    )
