"""Configuration, the rules' side of steps, the step runner's command, the plan."""
