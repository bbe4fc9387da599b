"""One way to run a checkpoint per file, found by the table in models.loading."""
