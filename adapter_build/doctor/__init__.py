"""What a build and its server will need, looked at before hours are spent."""
