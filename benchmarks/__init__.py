"""One command each. A package of its own, because others bring one of the same name (Opacus does)."""
