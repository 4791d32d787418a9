"""Text input: sources of documents, cleaning with a report, splits, statistics, and the built-in stories."""
