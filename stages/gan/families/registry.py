"""The families of GANs by name."""

from stages.gan.families import auxiliary, per_class, projection
from stages.gan.families.interface import Family
from stages.gan.params import FamilyName

FAMILIES: dict[FamilyName, Family] = {
    "projection": projection,
    "auxiliary": auxiliary,
    "per_class": per_class,
}
