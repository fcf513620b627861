"""Checks of a build's and its server's needs, before hours are spent."""
