"""From minutes to a run: the best model for the time, the text and the machine at hand."""
