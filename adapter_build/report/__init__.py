"""The report's page: its data, charts and template."""
