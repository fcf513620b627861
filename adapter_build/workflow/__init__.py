"""The configuration, the beginning of a build, the plan, and the step runner's command line."""
