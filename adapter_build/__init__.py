"""The library of the build: one package per concern; step scripts in scripts/ and make call it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout
