"""One command each. A package by name: Opacus installs another `benchmarks`, which would go before a plain folder."""
