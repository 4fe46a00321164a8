"""Questions with parameters, asked by the pipeline."""
