"""Classification and evaluation. Files with a `main` are commands; the others are libraries, one job each."""
