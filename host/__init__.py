"""The torch side: data, models, training, pruning, export, search, report and the `s4op` command."""
