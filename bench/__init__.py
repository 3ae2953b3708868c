"""Side-by-side measurements: ratios within one run on one machine, medians of rounds. `python -m bench` runs them all."""
