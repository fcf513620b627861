"""Reviews of what the locks pin: advisories and licences."""
