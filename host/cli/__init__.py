"""The `s4op` command: one file per subcommand, thin over the functions of `host`."""
