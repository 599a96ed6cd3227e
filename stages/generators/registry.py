"""The families of GANs by name."""

from stages.generators.interface import Family
from stages.generators.kinds import auxiliary, per_class, projection
from stages.generators.params import FamilyName

FAMILIES: dict[FamilyName, Family] = {
    "projection": projection,
    "auxiliary": auxiliary,
    "per_class": per_class,
}
