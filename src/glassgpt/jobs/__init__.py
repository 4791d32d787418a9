"""One place that joins the rooms into a running training; each kind brings its batches, its loss and its measures."""
