"""drip: drip campaigns from YAML and Markdown, judged, previewed and sent."""

__version__ = "0.1.0"
