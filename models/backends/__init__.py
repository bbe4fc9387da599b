"""One way to run a checkpoint per file, and what each backend does around a batch: launch, self-check."""
