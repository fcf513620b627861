"""Pins of data, and reviews of the locked packages: advisories and licences."""
